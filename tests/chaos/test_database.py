"""The storm's database: what it says of the workers' sessions."""

from collections.abc import Callable, Sequence

import pytest

from tests.chaos.database import LOOKS, STANDING, WORKERS, lasting

Look = Callable[[], Sequence[tuple[int, str, str]]]

OFTEN = LOOKS // 2


def looks(*states: str) -> Look:
    """Give looks at a session that is seen in these states, one after the other."""
    seen = iter(states)
    return lambda: [(1, f"{WORKERS}w", next(seen)), (2, f"{WORKERS}v", "idle")]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        (["idle"], "idle"),
        ([STANDING, *["idle"] * (LOOKS - 1)], "active"),
        ([STANDING] * (OFTEN - 1) + ["active"] * (LOOKS - OFTEN + 1), "active"),
        ([STANDING] * OFTEN + ["active"] * (LOOKS - OFTEN), STANDING),
        ([f"{STANDING} (aborted)"] * LOOKS, f"{STANDING} (aborted)"),
    ],
)
def test_a_session_stands_in_its_transaction_if_it_mostly_does(
    states: list[str], told: str
) -> None:
    assert lasting(looks(*states), every=0) == [("w", told), ("v", "idle")]
