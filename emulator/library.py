"""The files on disk that the emulator serves, each made once."""

import asyncio
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import av

from emulator.captions import ttml
from emulator.media import Recipe, make_video

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class StoredFile:
    """A whole file, with the strong ETag that it is served under."""

    path: Path
    size_bytes: int
    etag: str


class Library:
    """Makes files in threads of its own, and keeps them by all that their bytes depend on.

    Args:
        folder: Where the files are kept, or None for a temporary folder that `close` removes.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._temporary: TemporaryDirectory[str] | None = None
        self._threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="emulator-media")
        self._closing = threading.Event()
        self._hashes: dict[Path, str] = {}
        self._making: dict[str, asyncio.Task[StoredFile]] = {}

    def open(self) -> None:
        """Make sure that there is a folder."""
        if self._folder is None:
            self._temporary = TemporaryDirectory(prefix="cloudslicer-emulator-")
            self._folder = Path(self._temporary.name)
        self._folder.mkdir(parents=True, exist_ok=True)

    def stop(self) -> None:
        """Abandon what is being made: who waits for it gets `AbandonedError`."""
        self._closing.set()

    async def close(self) -> None:
        """Wait for the threads, and remove the temporary folder."""
        self.stop()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        self._threads.shutdown()
        if self._temporary is not None:
            self._temporary.cleanup()

    async def video(self, recipe: Recipe) -> StoredFile:
        """Return the MP4 of a recipe, made now if need be."""
        name = f"{_digest('video', av.__version__, recipe)}.mp4"
        return await self._file(
            name, lambda path: make_video(recipe, path, abandoned=self._closing.is_set)
        )

    async def captions(self, asset_id: str, media_seconds: float) -> StoredFile:
        """Return the captions of an asset, made now if need be."""
        name = f"{_digest('captions', asset_id, media_seconds)}.ttml"
        text = ttml(asset_id, media_seconds)
        return await self._file(name, lambda path: _write(path, text))

    async def sha256(self, file: StoredFile) -> str:
        """Return the hash of the whole file, lower-case hex."""
        if file.path not in self._hashes:
            loop = asyncio.get_running_loop()
            self._hashes[file.path] = await loop.run_in_executor(self._threads, _sha256, file.path)
        return self._hashes[file.path]

    async def _file(self, name: str, make: Callable[[Path], None]) -> StoredFile:
        """Make the file unless it is there; requests that come meanwhile wait for the same one."""
        task = self._making.get(name)
        if task is None:
            task = asyncio.create_task(self._made(name, make))
            self._making[name] = task
            task.add_done_callback(lambda _: self._making.pop(name, None))
        return await asyncio.shield(task)

    async def _made(self, name: str, make: Callable[[Path], None]) -> StoredFile:
        if self._folder is None:
            raise RuntimeError("the library is not open")
        path = self._folder / name
        loop = asyncio.get_running_loop()
        size_bytes = await loop.run_in_executor(self._threads, _ensure, path, make)
        return StoredFile(path, size_bytes, f'"{path.stem}"')


def _ensure(path: Path, make: Callable[[Path], None]) -> int:
    """Make a file under another name and rename it: under its own name it is whole or not there."""
    if not path.exists():
        part = path.with_name(f".{uuid4().hex}{path.suffix}")
        try:
            make(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return path.stat().st_size


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
