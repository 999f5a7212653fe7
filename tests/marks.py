"""Marks: what is true of a test, besides its name."""

import pytest

# The lines that it runs are those of other tests, over and over: to trace them doubles its time.
repeats = pytest.mark.no_cover
