"""Disks: small file systems of a test's own, to be filled, made read-only and taken away."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, *, size_bytes: int) -> Iterator[Path]:
    """Give a file system with so much room at `place`; who may not mount one skips the test."""
    place.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)]
    if subprocess.run(options, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S607


def remount(place: Path, how: str) -> None:
    """Have the file system at `place` be read-only ("ro") or writable ("rw")."""
    subprocess.run(["mount", "-o", f"remount,{how}", str(place)], check=True)  # noqa: S607
