"""Fetcher: `python -m tests.fetcher URL PART [STREAMS]` fetches as a worker's process does."""

import sys
from dataclasses import replace
from pathlib import Path

from tests.fetching import SINGLE, get

if __name__ == "__main__":
    url, path, *streams = sys.argv[1:]
    manner = replace(SINGLE, most_streams=int(streams[0]) if streams else 1)
    sys.stdout.write(get(url, Path(path), manner=manner).sha256)
