"""The command line of the chaos suite: `make chaos SEED=… MINUTES=… EXPORTS=…`."""

import argparse
import json
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from tests.chaos import report, schedule
from tests.chaos.fleet import POSTS
from tests.chaos.run import Verdict, run

EVIDENCE = "evidence.json"


def main() -> int:
    """Run one storm, and say what became of it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long the storm rages")
    parser.add_argument("--exports", type=int, default=200, help="how many requests are sent")
    parser.add_argument(
        "--only", choices=schedule.FAMILIES, action="append", help="disasters of this family alone"
    )
    parser.add_argument("--json", type=Path, help="write the verdict there, too")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it cleans up after itself
    seconds = 60 * given.minutes
    families = given.only or list(schedule.FAMILIES)
    events = schedule.draw(given.seed, seconds=seconds, posts=POSTS, families=families)
    _say("\n".join([*report.plan(given.seed, events), ""]))
    with _folder() as folder:
        verdict = run(
            given.seed, exports=given.exports, seconds=seconds, folder=folder, families=families
        )
        _say("\n".join(report.lines(verdict)))
        if given.json:
            given.json.write_text(json.dumps(report.summary(verdict), indent=1) + "\n")
        if not verdict.is_good:
            _keep(verdict, folder)
    return 0 if verdict.is_good else 1


@contextmanager
def _folder() -> Iterator[Path]:
    """Give a folder; it is kept where something is wrong with the worker, or with this suite."""
    folder = Path(mkdtemp(prefix="chaos-"))
    try:
        yield folder
    except Exception:
        _say(f"The storm broke off; logs and files are in {folder}")
        raise
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if not (folder / EVIDENCE).exists():
        shutil.rmtree(folder, ignore_errors=True)


def _keep(verdict: Verdict, folder: Path) -> None:
    report.keep_evidence(verdict, folder / EVIDENCE)
    shutil.rmtree(folder / "media", ignore_errors=True)  # it can be made again
    _say(f"\nSeed {verdict.seed} FAILED: logs, files and {EVIDENCE} are in {folder}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
