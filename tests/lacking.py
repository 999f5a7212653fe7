"""Lacking: a program that a test needs is not on this machine."""

import os

import pytest


def lacking(what: str) -> BaseException:
    """Return what ends a test, which skips on a laptop and fails where CI is set; or a program.

    Args:
        what: what is lacking, and how to come by it.
    """
    if "PYTEST_CURRENT_TEST" in os.environ and "CI" not in os.environ:
        return pytest.skip.Exception(what)
    return SystemExit(what)
