"""The video that the emulator makes: a real MP4 with a moving picture and a tone."""

import array
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from PIL import Image, ImageDraw, ImageFont

SAMPLE_RATE = 48_000
SAMPLES_PER_FRAME = 1024
FLOAT_BYTES = 4
LARGEST_32_BIT_BOX = 2**32 - 1
BITEXACT = 0x400
"""AVFMT_FLAG_BITEXACT (libavformat/avformat.h): no version and no time in the file."""


class AbandonedError(Exception):
    """The emulator is shutting down while a file is being made."""


@dataclass(frozen=True)
class Recipe:
    """All that a video's bytes depend on."""

    asset: str
    seconds: float
    width: int
    height: int
    aaclc: bool = False
    sound: bool = True
    size_bytes: int | None = None

    @property
    def frame_rate(self) -> int:
        """Frames in a second: fewer in a long video, so that it is still made quickly."""
        if self.seconds <= 60:  # noqa: PLR2004 - two steps of one table
            return 25
        return 5 if self.seconds <= 600 else 1  # noqa: PLR2004 - same

    @property
    def pitch_hertz(self) -> int:
        """The tone: by asset, and an octave up when AAC-LC was asked for."""
        return (220 + int(self.asset[:4], 16) % 440) * (2 if self.aaclc else 1)


def make_video(recipe: Recipe, path: Path, abandoned: Callable[[], bool] = lambda: False) -> None:
    """Write the recipe's MP4 (H.264 and AAC-LC, index first) to `path`.

    Raises:
        AbandonedError: `abandoned` came true before the file was whole.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.flags = container.flags | BITEXACT
        _encode(recipe, container, abandoned)
    if recipe.size_bytes is not None:
        pad(path, recipe.size_bytes)


def pad(path: Path, size_bytes: int) -> None:
    """Bring a file to a size with a `free` box at its end; a file too large already is left alone.

    The box is a hole in the file: it takes no room on the disk however large it is.
    A box has a header of 8 bytes, so a file that lacks fewer is left alone too.
    """
    missing = size_bytes - path.stat().st_size
    if missing < 8:  # noqa: PLR2004 - the header of a box, ISO/IEC 14496-12 section 4.2
        return
    if missing <= LARGEST_32_BIT_BOX:
        header = missing.to_bytes(4, "big") + b"free"
    else:
        header = (1).to_bytes(4, "big") + b"free" + missing.to_bytes(8, "big")
    with path.open("ab") as file:
        file.write(header)
    os.truncate(path, size_bytes)


def _encode(recipe: Recipe, container: OutputContainer, abandoned: Callable[[], bool]) -> None:
    """Write pictures and the sound that goes with each, so that both lie side by side."""
    video = _video_stream(recipe, container)
    sound = _sound(recipe, _audio_stream(container)) if recipe.sound else iter(())
    rate = recipe.frame_rate
    heard = 0
    for number, picture in enumerate(_pictures(recipe)):
        if abandoned():
            raise AbandonedError
        frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
        frame.pts, frame.time_base = number, Fraction(1, rate)
        container.mux(video.encode(frame))
        while heard * rate < (number + 1) * SAMPLE_RATE:
            packets = next(sound, None)
            if packets is None:
                break
            container.mux(packets)
            heard += SAMPLES_PER_FRAME
    for packets in sound:
        container.mux(packets)
    container.mux(video.encode())


def _video_stream(recipe: Recipe, container: OutputContainer) -> VideoStream:
    # One thread: the bytes must not depend on how many cores made them.
    options = {"preset": "ultrafast", "crf": "28", "threads": "1"}
    stream = container.add_stream("libx264", rate=recipe.frame_rate, options=options)
    stream.width, stream.height, stream.pix_fmt = recipe.width, recipe.height, "yuv420p"
    return stream


def _audio_stream(container: OutputContainer) -> AudioStream:
    return container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")


def _pictures(recipe: Recipe) -> Iterator[Image.Image]:
    """Draw the asset's id on its colour, with a block that moves from left to right each second."""
    total = max(1, round(recipe.seconds * recipe.frame_rate))
    still, block = _still(recipe), recipe.height // 8
    for number in range(total):
        picture = still.copy()
        draw = ImageDraw.Draw(picture)
        along = number % recipe.frame_rate / recipe.frame_rate
        left, bottom = along * (recipe.width - block), recipe.height - block // 2
        draw.rectangle((left, bottom - block, left + block, bottom), fill="yellow")
        draw.text((8, 4), f"{number / recipe.frame_rate:.2f} s", fill="white")
        yield picture


def _still(recipe: Recipe) -> Image.Image:
    colour = tuple(40 + value // 2 for value in bytes.fromhex(recipe.asset[:6]))
    picture = Image.new("RGB", (recipe.width, recipe.height), colour)
    font = ImageFont.load_default(size=recipe.width / 16)
    middle = (recipe.width / 2, recipe.height / 2)
    text = f"{recipe.asset[:16]}\n{recipe.asset[16:]}"
    ImageDraw.Draw(picture).text(middle, text, font=font, fill="white", anchor="mm")
    return picture


def _sound(recipe: Recipe, stream: AudioStream) -> Iterator["list[av.Packet[AudioStream]]"]:
    """Encode the tone frame by frame; a whole number of hertz repeats itself every second."""
    turn = 2 * math.pi * recipe.pitch_hertz / SAMPLE_RATE
    second = array.array("f", (0.2 * math.sin(turn * n) for n in range(SAMPLE_RATE))).tobytes()
    tone = second + second[: SAMPLES_PER_FRAME * FLOAT_BYTES]
    total = round(recipe.seconds * SAMPLE_RATE)
    for start in count(0, SAMPLES_PER_FRAME):
        samples = min(SAMPLES_PER_FRAME, total - start)
        if samples <= 0:
            break
        frame = av.AudioFrame(format="fltp", layout="mono", samples=samples)
        frame.sample_rate = SAMPLE_RATE
        frame.pts, frame.time_base = start, Fraction(1, SAMPLE_RATE)
        offset = start % SAMPLE_RATE * FLOAT_BYTES
        piece = tone[offset : offset + samples * FLOAT_BYTES]
        frame.planes[0].update(piece.ljust(frame.planes[0].buffer_size, b"\0"))
        yield stream.encode(frame)
    yield stream.encode()
