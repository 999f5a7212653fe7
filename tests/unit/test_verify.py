"""Verify: a whole MP4 passes, and anything less does not."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from random import Random

import av
import pytest

from emulator.media import Recipe, make_video, pad
from worker.errors import Transient
from worker.transfer.film import Film
from worker.transfer.verify import verify as verify_checked

ASSET = "a29a0bf647454d70bbb9b13d6896a108"
SECONDS = 2.0


def verify(path: Path) -> Film:
    return verify_checked(path, check=lambda: None)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Give a file of two seconds, its index first."""
    path = tmp_path_factory.mktemp("whole") / "whole.mp4"
    make_video(Recipe(ASSET, SECONDS, 64, 64), path)
    return path.read_bytes()


@pytest.fixture
def of(tmp_path: Path) -> Callable[[bytes], Path]:
    """Give what makes a file of bytes."""

    def make(content: bytes) -> Path:
        path = tmp_path / "x.part"
        path.write_bytes(content)
        return path

    return make


Of = Callable[[bytes], Path]


def boxes(content: bytes) -> dict[bytes, tuple[int, int]]:
    """Return where each top-level box begins and ends."""
    at, found = 0, {}
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        found[content[at + 4 : at + 8]] = (at, at + size)
        at += size
    return found


def refusal(path: Path) -> str:
    with pytest.raises(Transient) as refused:
        verify(path)
    assert refused.value.code == "file_not_whole"
    return refused.value.message.removeprefix("the file is no whole MP4: ")


def written(path: Path, *, options: dict[str, str] | None = None, title: str = "") -> bytes:
    """Return a file of a second of plain pictures without sound."""
    with av.open(str(path), "w", format="mp4", options=options or {}) as container:
        container.metadata["title"] = title
        stream = container.add_stream("libx264", rate=25, options={"g": "5"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(25):
            frame = av.VideoFrame(64, 64, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


def test_a_whole_file_passes_with_what_is_in_it(whole: bytes, of: Of) -> None:
    film = verify(of(whole))
    assert abs(film.duration_seconds - SECONDS) < 0.05
    assert film == Film(film.duration_seconds, "h264", "aac", "LC", 64, 64)


def test_a_file_without_sound_passes(of: Of, tmp_path: Path) -> None:
    assert verify(of(written(tmp_path / "silent.mp4"))).audio_codec is None


def test_a_file_with_its_index_last_passes_whole_only(of: Of, tmp_path: Path) -> None:
    content = written(tmp_path / "last.mp4")
    assert list(boxes(content))[-1] == b"moov"
    verify(of(content))
    assert refusal(of(content[: boxes(content)[b"moov"][0]])) == "it has no moov box"


def test_a_fragmented_file_passes_and_a_cut_in_any_fragment_does_not(
    of: Of, tmp_path: Path
) -> None:
    content = written(tmp_path / "x.mp4", options={"movflags": "frag_keyframe+empty_moov"})
    verify(of(content))
    start, end = boxes(content)[b"mdat"]  # the last of several
    for at in (start + 1, start + 8, (start + end) // 2, end - 1):
        assert "its" in refusal(of(content[:at]))


def test_a_title_that_is_no_utf_8_is_no_reason_to_give_up(of: Of, tmp_path: Path) -> None:
    content = written(tmp_path / "title.mp4", title="QQQQQQ")
    assert b"QQQQQQ" in content
    verify(of(content.replace(b"QQQQQQ", b"\xe9\xff\xfe\xe9\xff\xfe")))


@pytest.mark.parametrize("size_bytes", [100, 70_000])
def test_a_free_box_at_the_end_passes_whole_only(size_bytes: int, whole: bytes, of: Of) -> None:
    path = of(whole)
    pad(path, len(whole) + size_bytes)
    verify(path)
    padded = path.read_bytes()
    assert refusal(of(padded[:-1])) == "it ends 1 bytes before its free box does"
    for extra in (1, 4, 7):
        assert refusal(of(padded[: len(whole) + extra])).startswith("its structure breaks at byte")


def test_a_cut_at_any_byte_is_refused(whole: bytes, of: Of) -> None:
    marks = {edge for box in boxes(whole).values() for edge in box}
    near = {mark + by for mark in marks for by in range(-9, 10)}
    cuts = sorted(cut for cut in near | set(range(0, len(whole), 997)) if 0 <= cut < len(whole))
    assert len(cuts) > 60
    for cut in cuts:
        assert refusal(of(whole[:cut])), cut


@pytest.mark.parametrize("large", [True, False])
def test_a_last_box_of_any_size_is_refused_if_a_sample_is_missing(
    whole: bytes, of: Of, *, large: bool
) -> None:
    start, end = boxes(whole)[b"mdat"]
    assert end == len(whole)
    head = int(large).to_bytes(4, "big") + b"mdat"
    if large:
        head += (end - start + 8).to_bytes(8, "big")
    # a larger header takes the place of the empty free box before it, so that no sample moves
    content = whole[: start + 8 - len(head)] + head + whole[start + 8 :]
    assert len(content) == len(whole)
    verify(of(content))
    for cut in [*range(start + 9, end, 1999), end - 1]:
        assert refusal(of(content[:cut])), cut


def test_a_64_bit_size_needs_its_eight_bytes(whole: bytes, of: Of) -> None:
    for least in (0, 8, 15):
        box = (1).to_bytes(4, "big") + b"free" + least.to_bytes(8, "big")
        assert refusal(of(whole + box)) == f"its structure breaks at byte {len(whole)}"
    assert "structure breaks" in refusal(of(whole + b"\0\0\0\1free\0\0\0"))
    verify(of(whole + (1).to_bytes(4, "big") + b"free" + (16).to_bytes(8, "big")))


def test_a_size_beyond_the_end_of_the_world_is_refused(whole: bytes, of: Of) -> None:
    box = (1).to_bytes(4, "big") + b"free" + b"\xff" * 8
    assert refusal(of(whole + box)).endswith("before its free box does")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"<!doctype html><title>Sign in</title><form method=post></form>",
        b"\0" * 64,
        b"\x1f\x8b\x08" + b"\0" * 50,
        b"\0\0\0\x10free" + b"\0" * 8,
    ],
)
def test_what_is_no_mp4_is_refused(content: bytes, of: Of) -> None:
    assert refusal(of(content)) in {
        "it does not begin as an MP4 does",
        "its structure breaks at byte 0",
        "it has no ftyp and no moov and no mdat box",
    }


def test_a_file_of_nothing_but_boxes_is_refused(of: Of) -> None:
    content = b"\0\0\0\x10ftypisom\0\0\2\0" + b"\0\0\0\x08moov" + b"\0\0\0\x08mdat"
    assert "can't be read" in refusal(of(content)) or "no video" in refusal(of(content))


def test_a_name_that_is_no_text_can_be_told(whole: bytes, of: Of) -> None:
    assert refusal(of(whole + b"\0\0\1\0\xff\0\xfe\n")) == (
        "it ends 248 bytes before its \\xff\0\\xfe\n box does"
    )


def test_sound_alone_is_refused(of: Of, tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(50):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            frame.sample_rate, frame.pts = 48_000, number * 1024
            frame.planes[0].update(b"\0" * frame.planes[0].buffer_size)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert refusal(of(path.read_bytes())) == "it has no video track that can be read"


def test_a_codec_that_nobody_knows_is_refused(whole: bytes, of: Of) -> None:
    content = whole.replace(b"avc1", b"zzzz")
    assert refusal(of(content)) == "it has no video track that can be read"


def test_a_film_of_no_duration_is_refused(of: Of, tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    content = written(tmp_path / "x.mp4", options=options)
    first = content.index(b"moof") - 4
    empty = content[:first] + b"\0\0\0\x08mdat"
    assert refusal(of(empty)) in {"it has no duration", "its last second can't be read"}


def test_a_file_that_was_taken_away_is_transient(tmp_path: Path) -> None:
    with pytest.raises(Transient) as gone:
        verify(tmp_path / "nowhere.part")
    assert str(gone.value) == (
        "scratch_unreadable: can't read from SCRATCH_DIR: No such file or directory"
    )


def test_wrong_bytes_in_the_index_end_in_a_film_or_a_refusal(whole: bytes, of: Of) -> None:
    random = Random(1)
    start, end = boxes(whole)[b"moov"]
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(random.randint(1, 4)):
            content[random.randrange(start + 8, end)] = random.randrange(256)
        try:
            verify(of(bytes(content)))
        except Transient as refused:
            assert refused.code == "file_not_whole"  # noqa: PT017  (a film is right too)
