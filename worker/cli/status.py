"""Status: the exit statuses of the command line; docs/cli.md explains them."""

from enum import IntEnum


class Status(IntEnum):
    """How a command ended."""

    DONE = 0  # what was asked for was achieved
    FAILED = 1  # it was not, or not all of it; or whoever read the output left, as `head` does
    USAGE = 2  # the command line makes no sense, and nothing was done
    INTERRUPTED = 130  # by Ctrl-C: what is on record goes on without it
