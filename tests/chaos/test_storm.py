"""A short storm of a fixed seed over real workers, Redis and PostgreSQL, in each run of CI."""

from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.fleet import FEW_POSTS
from tests.chaos.run import run


@pytest.mark.services
@pytest.mark.timeout(240)
def test_nothing_is_lost_and_nothing_paid_twice_in_a_short_storm(tmp_path: Path) -> None:
    verdict = run(7, exports=24, seconds=20, folder=tmp_path, posts=FEW_POSTS)
    assert verdict.is_good, "\n".join([*report.plan(7, verdict.events), *report.lines(verdict)])
