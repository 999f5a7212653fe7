import hashlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import av
import pytest

from emulator.captions import MOST_CUES, ttml
from emulator.media import AbandonedError, Recipe, make_video, pad

ASSET = "a29a0bf647454d70bbb9b13d6896a108"


def make_recipe(**changes: Any) -> Recipe:
    usual: dict[str, Any] = {"asset": ASSET, "seconds": 1.0, "width": 320, "height": 180}
    return Recipe(**(usual | changes))


def made(path: Path, **changes: Any) -> bytes:
    make_video(make_recipe(**changes), path)
    return path.read_bytes()


def boxes(path: Path) -> list[tuple[str, int]]:
    found = []
    with path.open("rb") as file:
        start, end = 0, path.stat().st_size
        while start < end:
            file.seek(start)
            header = file.read(16)
            size = int.from_bytes(header[:4], "big")
            size = int.from_bytes(header[8:], "big") if size == 1 else size
            found.append((header[4:8].decode(), size))
            start += size
    assert start == end
    return found


@pytest.mark.parametrize("seconds", [1.0, 2.5])
def test_the_file_is_a_real_mp4_of_the_right_length(tmp_path: Path, seconds: float) -> None:
    made(tmp_path / "a.mp4", seconds=seconds)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(seconds, abs=0.05)
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height) == (320, 180)
        assert sum(1 for _ in container.decode(video)) == round(seconds * 25)


def test_the_index_stands_before_the_media(tmp_path: Path) -> None:
    made(tmp_path / "a.mp4")
    names = [name for name, _ in boxes(tmp_path / "a.mp4")]
    assert names.index("moov") < names.index("mdat")


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    assert made(tmp_path / "a.mp4") == made(tmp_path / "b.mp4")


@pytest.mark.parametrize("change", [{"asset": "b" * 32}, {"aaclc": True}, {"sound": False}])
def test_another_recipe_gives_other_bytes(tmp_path: Path, change: dict[str, Any]) -> None:
    assert made(tmp_path / "a.mp4") != made(tmp_path / "b.mp4", **change)


def test_a_video_without_sound_has_no_audio_stream(tmp_path: Path) -> None:
    made(tmp_path / "a.mp4", sound=False)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio


@pytest.mark.parametrize("size_bytes", [1_000_000, 1_000_001, 5 * 2**30 + 7])
def test_a_padded_file_is_exact_whole_and_cheap(tmp_path: Path, size_bytes: int) -> None:
    path = tmp_path / "a.mp4"
    make_video(make_recipe(size_bytes=size_bytes), path)
    assert path.stat().st_size == size_bytes
    assert path.stat().st_blocks * 512 < 2_000_000
    assert boxes(path)[-1][0] == "free"
    with av.open(str(path)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 25


@pytest.mark.parametrize("missing", [-50, 0, 7])
def test_what_no_box_can_fill_is_left_alone(tmp_path: Path, missing: int) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x" * 100)
    pad(path, 100 + missing)
    assert path.read_bytes() == b"x" * 100


def test_the_smallest_box_is_all_header(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"")
    pad(path, 8)
    assert path.read_bytes() == b"\0\0\0\x08free"


def test_making_is_abandoned_when_asked(tmp_path: Path) -> None:
    with pytest.raises(AbandonedError):
        make_video(make_recipe(), tmp_path / "a.mp4", abandoned=lambda: True)


def test_a_long_video_has_fewer_pictures() -> None:
    assert [make_recipe(seconds=s).frame_rate for s in (60, 61, 601)] == [25, 5, 1]


@pytest.mark.parametrize("seconds", [0.5, 4.0, 7200.0])
def test_captions_parse_and_cover_the_media(seconds: float) -> None:
    cues = ET.fromstring(ttml(ASSET, seconds)).findall(".//{http://www.w3.org/ns/ttml}p")  # noqa: S314 - our own text
    assert 1 <= len(cues) <= MOST_CUES + 1
    assert all(ASSET in (cue.text or "") for cue in cues)
    assert cues[0].get("begin") == "00:00:00.000"
    hours, minutes, rest = str(cues[-1].get("end")).split(":")
    assert int(hours) * 3600 + int(minutes) * 60 + float(rest) == pytest.approx(seconds)


def test_hashes_of_both_audio_wishes_differ(tmp_path: Path) -> None:
    digests = {
        hashlib.sha256(made(tmp_path / f"{wish}.mp4", aaclc=wish)).hexdigest()
        for wish in (False, True)
    }
    assert len(digests) == 2
