"""Fetcher: `python -m tests.fetcher URL PART` fetches as a worker's process does."""

import sys
from pathlib import Path

from tests.fetching import get

if __name__ == "__main__":
    sys.stdout.write(get(sys.argv[1], Path(sys.argv[2])).sha256)
