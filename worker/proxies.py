"""Proxies: by which proxy a host is reached, and whom it is trusted by, is looked up once."""

from typing import Any
from urllib.parse import urlsplit

import requests

# Files may come from many hosts.
MOST_HOSTS = 1000


class Session(requests.Session):
    """A requests session that reads the environment once for each host.

    requests reads all of it for each request, which is a third of what a small one costs; and the
    variables of a process that runs are nobody's to change.
    """

    def __init__(self) -> None:
        super().__init__()
        self._read: dict[tuple[str, str, bool | None], Any] = {}

    def merge_environment_settings(
        self,
        url: Any,  # noqa: ANN401  (requests' own types)
        proxies: Any,  # noqa: ANN401  (same)
        stream: bool | None,
        verify: Any,  # noqa: ANN401  (same)
        cert: Any,  # noqa: ANN401  (same)
    ) -> Any:  # noqa: ANN401  (same)
        """Return what it is sent with; where more is said of it, as requests does."""
        if proxies or verify is not None or cert is not None:
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        scheme, host, *_ = urlsplit(str(url))
        if len(self._read) > MOST_HOSTS:
            self._read.clear()
        key = (scheme, host, stream)
        if key not in self._read:
            self._read[key] = super().merge_environment_settings(url, {}, stream, None, None)
        read = self._read[key]
        return {**read, "proxies": dict(read["proxies"])}
