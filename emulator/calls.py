"""How often each call was received."""

from collections import Counter
from collections.abc import Iterable
from typing import Any


class CallCount:
    """Counts requests as they come in, whatever becomes of them."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._by_asset: dict[str, Counter[str]] = {}

    def received(self, call: str, assets: Iterable[str]) -> None:
        """Count one request, once for the call and once for each asset that it names."""
        self._calls[call] += 1
        for asset in assets:
            self._by_asset.setdefault(call, Counter())[asset] += 1

    def counted(self) -> dict[str, Any]:
        """Return `{"calls": {call: n}, "by_asset": {call: {asset: n}}}`."""
        by_asset = {call: dict(counts) for call, counts in self._by_asset.items()}
        return {"calls": dict(self._calls), "by_asset": by_asset}

    def reset(self) -> None:
        """Start from zero."""
        self._calls.clear()
        self._by_asset.clear()
