"""A client of the emulator's control endpoints, for tests and for users' own CI."""

from typing import Any
from urllib.parse import quote

import requests

MEDIA_SECONDS = 180.0
"""A large file is made and hashed before the answer comes."""


class ControlError(Exception):
    """The emulator refused; the message is the sentence that it gave."""


class Control:
    """Steers a running emulator.

    Args:
        url: Where the emulator is, such as "http://127.0.0.1:8900".
        timeout_seconds: How long to wait for each answer.
    """

    def __init__(self, url: str, timeout_seconds: float = 10.0) -> None:
        self._url = f"{url.rstrip('/')}/control"
        self._timeout_seconds = timeout_seconds

    def fault(self, call: str, kind: str, **parameters: Any) -> str:  # noqa: ANN401 - JSON
        """Add a fault and return its id; `docs/emulator.md` lists kinds and parameters."""
        rule = self._ask("POST", "/faults", {"call": call, "kind": kind, **parameters})
        return str(rule["id"])

    def faults(self) -> list[dict[str, Any]]:
        """Return the faults, each with how often it `matched` and `fired`."""
        return list(self._ask("GET", "/faults")["faults"])

    def remove_fault(self, fault_id: str) -> None:
        """Remove one fault."""
        self._ask("DELETE", f"/faults/{quote(fault_id, safe='')}")

    def clear_faults(self) -> None:
        """Remove all faults."""
        self._ask("DELETE", "/faults")

    def jobs(self, asset: str | None = None, kind: str = "export") -> list[dict[str, Any]]:
        """Return the jobs ever made, oldest first, erased ones too.

        Args:
            asset: Only the jobs of this asset.
            kind: "export", "slice" or "all".
        """
        query = f"?kind={quote(kind)}" + (f"&asset={quote(asset)}" if asset else "")
        return list(self._ask("GET", f"/jobs{query}")["jobs"])

    def calls(self) -> dict[str, Any]:
        """Return `{"calls": {call: n}, "by_asset": {call: {asset: n}}}`."""
        return self._ask("GET", "/calls")

    def advance(self, seconds: float) -> None:
        """Put emulator time forward."""
        self._ask("POST", "/clock", {"advance_seconds": seconds})

    def speed(self, speed: float) -> None:
        """Change how fast emulator time goes by."""
        self._ask("POST", "/clock", {"speed": speed})

    def asset(self, asset_id: str, **overrides: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """Set members of one asset over the settings, and return what the asset is now."""
        return self._ask("PUT", f"/assets/{quote(asset_id, safe='')}", overrides)

    def media(self, job_id: str) -> dict[str, Any]:
        """Return `sha256`, `size_bytes` and `etag` of the true file of a job."""
        return self._ask("GET", f"/media/{quote(job_id, safe='')}", timeout_seconds=MEDIA_SECONDS)

    def reset(self) -> None:
        """Forget jobs, faults, overrides and counts, and set the clock back."""
        self._ask("POST", "/reset", {})

    def health(self) -> dict[str, Any]:
        """Return `{"status": "ok", …}` if the emulator answers."""
        return self._ask("GET", "/health")

    def _ask(
        self, method: str, path: str, body: object = None, timeout_seconds: float = 0.0
    ) -> dict[str, Any]:
        timeout = max(timeout_seconds, self._timeout_seconds)
        with requests.Session() as session:
            session.trust_env = False  # a proxy of the environment's knows nothing of us
            response = session.request(method, self._url + path, json=body, timeout=timeout)
        answer = response.json() if response.content else {}
        if response.status_code >= requests.codes.bad_request:
            raise ControlError(str(answer.get("message", response.reason)))
        return dict(answer)
