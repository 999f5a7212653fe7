"""Held: files that belong to whoever writes them, for as long as that one lives.

The writer holds a lock on the open file (flock(2)). The kernel lets go of it when the process ends,
however it ends, and not while the process merely stands still: a free lock says that the writer
is gone for good. Names can't say that, nor can a process' number.
"""

import errno
import fcntl
import os
from contextlib import suppress
from io import FileIO
from pathlib import Path

MOST_TRIES = 100

# A file system that has no locks says one of these.
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def make(path: Path, *, waits: bool = True) -> FileIO:
    """Return a new file at `path`, to read and to write, which is ours until it is closed.

    Where the file system has no locks, nobody will ever take it for abandoned. Somebody may take it
    in the moment before it is locked, a sweeper for an instant: `waits` is whether for that.

    Raises:
        OSError: it can't be made; or it was taken, and is not waited for.
    """
    how = fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB
    for _ in range(MOST_TRIES):
        file = path.open("x+b", buffering=0)
        try:
            fcntl.flock(file, how)
            if owns(file, path):
                return file
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return file
            file.close()
            raise
        file.close()  # a sweeper got it between the two calls, and has removed it
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))


def take(path: Path) -> FileIO | None:
    """Return the file at `path`, ours from now on, or None while its writer lives, or it is gone.

    Raises:
        OSError: it can't be opened.
    """
    try:
        file = path.open("r+b", buffering=0)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or there are no locks here, and nobody knows
        file.close()
        return None
    if owns(file, path):
        return file
    file.close()  # between the two calls another one took it, and gave it another name
    return None


def owns(file: FileIO, path: Path) -> bool:
    """Return whether the file of that name is still this one."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file.fileno()), there)


def unlink(file: FileIO, path: Path) -> None:
    """Remove the file's name, if it still has it, and where that can be done."""
    with suppress(OSError):
        if owns(file, path):
            path.unlink()
