"""Inquiry: what Uplynk says of many assets."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from worker.cloudslicer.allowance import Kind
from worker.cloudslicer.asset import Asset
from worker.cloudslicer.reply import CREDENTIALS, NOT_FOUND
from worker.errors import Permanent, Transient
from worker.steps import Kit

TRIES = 4
FIRST_PAUSE_SECONDS = 1.0
MOST_PAUSE_SECONDS = 60.0
# Where Uplynk refuses to tell of so many, one by one, and told of none before, it tells of none.
MOST_REFUSALS = 3

_Told = TypeVar("_Told")


class Inquiry:
    """Asks Uplynk about assets, and again where there is no answer.

    Args:
        kit: what to work with.
        wait: waits so many seconds.

    Attributes:
        refusals: by the asset's id, why Uplynk would not tell of it, if it said more than that it
            has it not.
    """

    def __init__(self, kit: Kit, *, wait: Callable[[float], None] = time.sleep) -> None:
        self._kit, self._wait, self._is_heard = kit, wait, False
        self.refusals: dict[str, str] = {}

    def about(self, asset_ids: Sequence[str]) -> dict[str, Asset]:
        """Return, by id, what Uplynk says of up to 1,000 assets; what it has not is left out.

        Where it refuses to tell of many, for one of them perhaps, it is asked about half as many,
        and so on.

        Raises:
            Transient: it did not answer, several times.
            Permanent: it refuses whatever it is asked.
        """
        if len(asset_ids) <= 1:
            return {asset_id: asset for asset_id in asset_ids if (asset := self._one(asset_id))}
        try:
            assets = self._patiently(lambda: self._kit.slicer.get_assets(asset_ids))
        except Permanent:
            middle = len(asset_ids) // 2
            return self.about(asset_ids[:middle]) | self.about(asset_ids[middle:])
        self._is_heard = True
        return assets

    def _one(self, asset_id: str) -> Asset | None:
        try:
            asset = self._patiently(lambda: self._kit.slicer.get_asset(asset_id))
        except Permanent as error:
            if error.code == NOT_FOUND:
                self._is_heard = True
                return None
            self.refusals[asset_id] = error.message
            if not self._is_heard and len(self.refusals) >= MOST_REFUSALS:
                raise  # it is not about the assets
            return None
        self._is_heard = True
        return asset

    def _patiently(self, ask: Callable[[], _Told]) -> _Told:
        """Return the answer, asked for again where there is none."""
        kit, pause = self._kit, FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(TRIES)):
            while not kit.allowance.take(Kind.OTHER):
                pass  # it waits by itself
            try:
                return ask()
            except Transient as error:
                if error.is_asked_too_much:
                    kit.allowance.slow_down()
                if not tries_left or error.code == CREDENTIALS:
                    raise
                asked = error.retry_after.total_seconds() if error.retry_after else 0.0
                self._wait(max(pause, min(asked, MOST_PAUSE_SECONDS)))
                pause *= 2
        raise AssertionError("the last try returns or raises")
