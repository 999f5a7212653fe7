"""Verify: is this file a whole MP4, and what is in it?"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

import av
from av import AudioStream, VideoStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Stream

from worker.errors import Transient
from worker.transfer.film import Film

_HEADER_BYTES = 8
_LARGE_HEADER_BYTES = 16  # a size of 1 says that a 64-bit size follows the type
_TO_THE_END = 0  # a size of 0 says that the box is the last, however long
PROBED_PACKETS = 8
_NEEDED = (b"ftyp", b"moov", b"mdat")

_Stream = TypeVar("_Stream", VideoStream, AudioStream)


def verify(path: Path, *, check: Callable[[], None]) -> Film:
    """Return what is in the MP4 at `path`, having seen that it is whole.

    Its boxes must fill it to the last byte, its last second must be there to be read, and so must
    each track's last sample: a truncation that agrees with its Content-Length is still one.

    Args:
        path: where it is.
        check: is called every now and then, and may raise to stop it.

    Raises:
        Transient: it is not whole, or no MP4 at all; the message says what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            _walk(file, size, check)
        with path.open("rb", buffering=0) as file:
            return _probe(_Watched(file, check), size)
    except FFmpegError as error:  # some of these are an OSError too
        raise _unfit(f"it can't be read as an MP4 ({error.strerror})") from error
    except OSError as error:
        raise Transient(
            "scratch_unreadable", f"can't read from SCRATCH_DIR: {error.strerror}"
        ) from error


def _walk(file: BinaryIO, size: int, check: Callable[[], None]) -> None:
    """Follow the top-level boxes (ISO/IEC 14496-12, 4.2) to the end of the file."""
    at, found = 0, set()
    while at < size:
        check()
        file.seek(at)
        header = file.read(_LARGE_HEADER_BYTES)
        length, kind = int.from_bytes(header[:4], "big"), header[4:_HEADER_BYTES]
        least = _HEADER_BYTES
        if length == 1:
            length, least = int.from_bytes(header[8:], "big"), _LARGE_HEADER_BYTES
        elif length == _TO_THE_END:
            length = size - at
        if at == 0 and kind != b"ftyp":
            raise _unfit("it does not begin as an MP4 does")
        if length < least or len(header) < least:
            raise _unfit(f"its structure breaks at byte {at}")
        if at + length > size:
            raise _unfit(f"it ends {at + length - size} bytes before its {_name(kind)} box does")
        found.add(kind)
        at += length
    if missing := [_name(kind) for kind in _NEEDED if kind not in found]:
        raise _unfit(f"it has no {' and no '.join(missing)} box")


class _Watched:
    """A file that FFmpeg reads, and that stops it: its index alone can take long to read."""

    def __init__(self, file: FileIO, check: Callable[[], None]) -> None:
        self._file = file
        self._check = check
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self._check()
        return self._file.read(size) or b""


def _probe(file: _Watched, size: int) -> Film:
    # titles in Latin-1 are no reason to give up a film
    with av.open(file, mode="r", format="mp4", metadata_errors="replace") as container:
        video = _first(container.streams.video)
        audio = _first(container.streams.audio)
        if video is None:
            raise _unfit("it has no video track that can be read")
        if not container.duration:
            raise _unfit("it has no duration")
        profile = _profile(container, audio) if audio and len(audio.index_entries) else None
        container.seek(max(container.duration - av.time_base, 0))
        if not any(packet.size for packet in container.demux(video)):
            raise _unfit("its last second can't be read")
        for stream in container.streams:
            _check_end(stream, size)
        return Film(
            duration_seconds=container.duration / av.time_base,
            video_codec=video.codec_context.name,
            audio_codec=audio.codec_context.name if audio else None,
            audio_profile=profile,
            width=video.codec_context.width,
            height=video.codec_context.height,
        )


def _profile(container: InputContainer, audio: AudioStream) -> str | None:
    """Return the profile of the sound; that it is HE-AAC may show in its frames only."""
    with suppress(FFmpegError):  # then what its header says
        for packet in islice(container.demux(audio), PROBED_PACKETS):
            packet.decode()
    return audio.codec_context.profile


def _first(streams: Iterable[_Stream]) -> _Stream | None:
    """Return the first stream whose codec is known; the others have no context."""
    return next((stream for stream in streams if stream.codec_context is not None), None)


def _check_end(stream: Stream, size: int) -> None:
    """See that the track's last sample lies within the file.

    The boxes alone don't tell: one that lasts to the end of the file fits every truncation.
    """
    if len(stream.index_entries):
        last = stream.index_entries[-1]
        if (missing := last.pos + last.size - size) > 0:
            raise _unfit(f"its {stream.type} track goes on for {missing} bytes after its end")


def _name(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")


def _unfit(why: str) -> Transient:
    return Transient("file_not_whole", f"the file is no whole MP4: {why}")
