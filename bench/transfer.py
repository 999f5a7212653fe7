"""Transfer: a large film from nginx to local storage, by us, by curl and by aria2c.

`python -m bench.transfer` prints a table of ratios; nginx, curl and aria2 must be installed. The
contenders take turns in one run, so that what else the machine does strikes them all alike.

- plain: as fast as it goes.
- limited: each connection to 30 MB/s.
- cut: a relay cuts a connection after each MiB with a chance of 1 %.

curl and aria2c bring the file; ours is brought, hashed, proven whole, synced and published.
`curl+sync` is there to show what the disk takes for that: curl, and then `sync` of its file.
"""

import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from statistics import median
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from bench.bring import peak_mib
from emulator.media import Recipe, make_video, pad
from tests.services import found, free_port, listens, process
from tests.waiting import wait_until

LIMIT_BYTES = 30_000_000
CUT_BYTES = 1 << 20
CUT_CHANCE = 0.01
RANDOM_BYTES = 16 << 20
LOOK_SECONDS = 0.02

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 2;
events {{ worker_connections 256; }}
http {{
    access_log off;
    sendfile on;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    types {{ video/mp4 mp4; }}
    server {{ listen 127.0.0.1:{plain}; root {root}; }}
    server {{ listen 127.0.0.1:{limited}; root {root}; limit_rate {limit}; }}
}}
"""


def make_film(path: Path, size_bytes: int) -> None:
    """Make a film of so many bytes, none of them a hole."""
    make_video(Recipe(asset="b" * 32, seconds=4.0, width=320, height=180), path)
    natural = path.stat().st_size
    pad(path, size_bytes)
    with path.open("r+b") as file:
        file.seek(natural + 16)  # behind the header of the box that fills it up
        while (left := size_bytes - file.tell()) > 0:
            file.write(os.urandom(min(left, RANDOM_BYTES)))


@contextmanager
def nginx(root: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Serve `root`; gives the ports of the plain server and of the limited one."""
    plain, limited = free_port(), free_port()
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(folder=folder, root=root, plain=plain, limited=limited, limit=LIMIT_BYTES)
    )
    with process([found("nginx"), "-c", str(config), "-p", str(folder)]):
        wait_until(lambda: listens(plain) and listens(limited), what="nginx")
        yield plain, limited


@contextmanager
def cutting(port: int, seed: int) -> Iterator[int]:
    """Relay to `port` of the loopback, and cut connections; gives the relay's port."""
    chance = random.Random(seed)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = False

        def accept() -> None:
            while not over:
                with suppress(TimeoutError):
                    client, _ = server.accept()
                    client.settimeout(None)
                    Thread(target=relay, args=(client,), daemon=True).start()

        def relay(client: socket.socket) -> None:
            with (
                client,
                socket.create_connection(("127.0.0.1", port)) as upstream,
                suppress(OSError),
            ):
                Thread(target=_pump, args=(client, upstream, lambda: False), daemon=True).start()
                _pump(upstream, client, lambda: chance.random() < CUT_CHANCE)
                client.shutdown(socket.SHUT_RDWR)

        thread = Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            over = True
            thread.join()


def _pump(source: socket.socket, target: socket.socket, is_cut: Callable[[], bool]) -> None:
    """Pass on what comes, without a copy, until it ends or `is_cut` after some of it."""
    read_end, write_end = os.pipe()
    try:
        with suppress(OSError):
            passed = 0
            while size := os.splice(source.fileno(), write_end, CUT_BYTES):
                passed += size
                while size:
                    size -= os.splice(read_end, target.fileno(), size)
                if passed >= CUT_BYTES:
                    passed = 0
                    if is_cut():
                        return
    finally:
        os.close(read_end)
        os.close(write_end)


def ours(url: str, folder: Path) -> dict[str, float]:
    """Bring the film as a worker does."""
    command = [sys.executable, "-m", "bench.bring", url, str(folder)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    measured: dict[str, float] = json.loads(said)
    return measured


def by(*command: str, retries: int = 0) -> Callable[[str, Path], dict[str, float]]:
    """Return what brings the film by another program; `{url}` and `{path}` are filled in."""

    def bring(url: str, folder: Path) -> dict[str, float]:
        filled = [part.format(url=url, path=folder / "film.mp4", folder=folder) for part in command]
        begun = time.monotonic()
        cpu = peak = 0.0
        for _ in range(retries + 1):
            program = subprocess.Popen(filled, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while (ended := os.wait4(program.pid, os.WNOHANG))[0] == 0:
                peak = max(peak, peak_mib(str(program.pid)))
                time.sleep(LOOK_SECONDS)
            _, status, used = ended
            program.returncode = os.waitstatus_to_exitcode(status)
            cpu += used.ru_utime + used.ru_stime
            if program.returncode == 0:
                return {"seconds": time.monotonic() - begun, "cpu_seconds": cpu, "peak_mib": peak}
        raise SystemExit(f"{filled[0]} ended with status {program.returncode}")

    return bring


CURL = ("curl", "--fail", "--silent", "--continue-at", "-", "--output", "{path}", "{url}")
ARIA2C = (
    "aria2c", "-x8", "-s8", "--min-split-size=1M", "--max-tries=0", "--retry-wait=0",
    "--file-allocation=none", "--dir={folder}", "--out=film.mp4", "{url}",
)  # fmt: skip
SYNCED = ("sh", "-c", f"{' '.join(CURL)} && sync {{path}}")

Contender = Callable[[str, Path], Mapping[str, Any]]
CONTENDERS: dict[str, Contender] = {
    "ours": ours,
    "curl": by(*CURL, retries=1000),
    "aria2c -x8": by(*ARIA2C),
    "curl+sync": by(*SYNCED, retries=1000),
}
RIVALS = ("curl", "aria2c -x8")


def measure(url: str, where: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Have all contenders bring the film, in turns; returns the medians of what it took each."""
    took: dict[str, list[Mapping[str, Any]]] = {name: [] for name in CONTENDERS}
    names, order = list(CONTENDERS), random.Random(1)
    for _ in range(rounds):
        order.shuffle(names)  # nobody always finds the disk as the same one left it
        for name in names:
            folder = where / "storage"
            folder.mkdir()
            os.sync()  # what the one before left to the disk is not this one's
            took[name].append(CONTENDERS[name](url, folder))
            rmtree(folder)
    return {
        name: {
            figure: median(float(each[figure]) for each in all_of)
            for figure in ("seconds", "cpu_seconds", "peak_mib")
        }
        | {"each_seconds": [each["seconds"] for each in all_of]}
        for name, all_of in took.items()
    }


def show(results: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """Print the table."""
    table = Table("line", "by", "rate to the best of curl and aria2c", "CPU s", "peak MiB")
    for line, by_name in results.items():
        best = min(by_name[name]["seconds"] for name in RIVALS)
        for name, figures in by_name.items():
            ratio = best / figures["seconds"]
            table.add_row(
                line,
                name,
                f"{ratio:.2f}",
                f"{figures['cpu_seconds']:.1f}",
                f"{figures['peak_mib']:.0f}",
            )
    Console().print(table)


@click.command()
@click.option("--size-mib", default=2048, show_default=True)
@click.option("--rounds", default=3, show_default=True, help="How often each brings it.")
@click.option("--line", "lines", multiple=True, default=("plain", "limited", "cut"))
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="The disk to bring it to.")
@click.option("--json", "to", type=click.Path(path_type=Path), help="Where the figures go.")
def main(
    size_mib: int, rounds: int, lines: tuple[str, ...], folder: Path | None, to: Path | None
) -> None:
    """Compare us with curl and aria2c."""
    with TemporaryDirectory(dir=folder) as name, ExitStack() as stack:
        where, root = Path(name), Path(name) / "root"
        where.chmod(0o755)  # nginx's workers are nobody
        root.mkdir()
        make_film(root / "film.mp4", size_mib << 20)
        plain, limited = stack.enter_context(nginx(root, where))
        ports = {
            "plain": plain,
            "limited": limited,
            "cut": stack.enter_context(cutting(plain, seed=1)),
        }
        results = {
            line: measure(f"http://127.0.0.1:{ports[line]}/film.mp4", where, rounds)
            for line in lines
        }
    show(results)
    if to:
        to.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
