"""Digest: the hash of a part is that of its bytes, whenever and in whatever order they come."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from threading import enumerate as threads
from uuid import UUID, uuid4

import pytest

from worker.transfer.digest import SMALL_BYTES, Digest
from worker.transfer.part import Origin, Part
from worker.transfer.parts import open_part

ORIGIN = Origin("https://x.example/film.mp4", '"a"', None)
PIECE = 1 << 18


@pytest.fixture
def part(tmp_path: Path) -> Iterator[Part]:
    with open_part(tmp_path, uuid4(), uuid4()) as part:
        part.begin(ORIGIN)
        yield part


def some_bytes(size: int) -> bytes:
    return Random(size).randbytes(size)


def pieces(content: bytes) -> list[tuple[int, bytes]]:
    return [(at, content[at : at + PIECE]) for at in range(0, len(content), PIECE)]


def has_thread(part: Part) -> bool:
    return any(thread.name == f"digest-{part.path.stem}" for thread in threads())


def finished(digest: Digest) -> str:
    return digest.finish(lambda: None)


@pytest.mark.parametrize("more", [-SMALL_BYTES, 1 - SMALL_BYTES, -1, 0, 1, PIECE])
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "backwards"])
def test_the_hash_is_that_of_all_bytes_around_the_size_that_is_worth_a_thread(
    part: Part, more: int, order: int
) -> None:
    content = some_bytes(SMALL_BYTES + more)
    with Digest(part) as digest:
        for at, piece in pieces(content)[::order]:
            part.write(at, piece)
        assert has_thread(part) == (more > 0)
        assert finished(digest) == hashlib.sha256(content).hexdigest()
        assert digest.size_bytes == len(content)
    assert not has_thread(part)


def test_what_is_there_already_is_hashed_though_nothing_comes(tmp_path: Path) -> None:
    export_id: UUID = uuid4()
    for size in (1000, SMALL_BYTES + 1000):
        content = some_bytes(size)
        with open_part(tmp_path, export_id, uuid4()) as part:
            part.begin(ORIGIN)
            part.write(0, content)
        with open_part(tmp_path, export_id, uuid4()) as part, Digest(part) as digest:
            assert finished(digest) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("first", [1000, SMALL_BYTES + 1000])
@pytest.mark.parametrize("second", [0, 2000, SMALL_BYTES + 2000])
def test_a_part_that_is_begun_anew_is_hashed_anew(part: Part, first: int, second: int) -> None:
    content = some_bytes(second)
    with Digest(part) as digest:
        part.write(0, some_bytes(first))
        part.begin(ORIGIN)
        for at, piece in pieces(content):
            part.write(at, piece)
        assert finished(digest) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("size", [1000, SMALL_BYTES + 1000])
def test_a_byte_that_is_lacking_ends_the_hash_before_it(part: Part, size: int) -> None:
    content = some_bytes(size)
    with Digest(part) as digest:
        part.write(0, content)
        part.write(size + 1, b"x")
        assert finished(digest) == hashlib.sha256(content).hexdigest()
        assert digest.size_bytes == size < part.size_bytes


@pytest.mark.parametrize("size", [1000, SMALL_BYTES + 1000])
def test_what_was_cut_off_behind_our_back_is_an_error(part: Part, size: int) -> None:
    part.write(0, some_bytes(size))
    with Digest(part) as digest:
        part.path.write_bytes(b"")
        with pytest.raises(OSError, match="Input/output error"):
            finished(digest)
