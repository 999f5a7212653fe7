"""Killed: how much of a large film comes again after a kill -9 at half of it.

`python -m bench.killed` has nginx serve a film, kills who brings it with SIGKILL when half of it is
there, and brings the rest. What comes again is what the one that was killed had written, less what
the next one goes on with. (What was on its way to it in the buffers of the line is lost as well.)
"""

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory
from uuid import UUID, uuid4

import click

from bench.transfer import make_film, nginx
from tests.waiting import wait_until

BLOCK_BYTES = 512  # of st_blocks (inode(7))
MIB = 1 << 20


def bring(url: str, folder: Path, export_id: UUID) -> subprocess.Popen[bytes]:
    """Begin, or go on, to bring the export's film."""
    command = [sys.executable, "-m", "bench.bring", url, str(folder), str(export_id)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def there(folder: Path) -> int:
    """Return how many bytes of a part are there."""
    return sum(path.stat().st_blocks * BLOCK_BYTES for path in folder.glob("*.part"))


def again(url: str, where: Path, size: int) -> tuple[int, str]:
    """Bring the film through a kill; returns how many bytes came again, and the film's SHA-256."""
    folder, export_id = where / "storage", uuid4()
    folder.mkdir()
    with bring(url, folder, export_id) as first:
        wait_until(lambda: there(folder) >= size // 2, what="half of it")
        first.send_signal(signal.SIGKILL)
    written = there(folder)
    with bring(url, folder, export_id) as second:
        said = json.loads(second.communicate()[0])
    rmtree(folder)
    return written - int(said["left_bytes"]), str(said["sha256"])


@click.command()
@click.option("--size-mib", default=2048, show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--line", type=click.Choice(["plain", "limited"]), default="plain", show_default=True)
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The disk to bring it to.")
def main(size_mib: int, rounds: int, line: str, folder: Path | None) -> None:
    """Say how much came again, each time."""
    with TemporaryDirectory(dir=folder) as name:
        where, film = Path(name), Path(name) / "root" / "film.mp4"
        where.chmod(0o755)  # nginx's workers are nobody
        film.parent.mkdir()
        make_film(film, size_mib * MIB)
        with film.open("rb") as file:
            true = hashlib.file_digest(file, "sha256").hexdigest()
        with nginx(film.parent, where) as ports:
            url = f"http://127.0.0.1:{ports[line == 'limited']}/film.mp4"
            for _ in range(rounds):
                count, sha256 = again(url, where, film.stat().st_size)
                whole = "whole" if sha256 == true else "NOT WHOLE"
                click.echo(f"{count / MIB:.1f} MiB of {size_mib} came again; {whole}")


if __name__ == "__main__":
    main()
