"""Hosts: from where a file may be fetched."""

from collections.abc import Collection
from urllib.parse import urlsplit

from worker.errors import Permanent


def check(url: str, allowed: Collection[str]) -> None:
    """Let `url` pass if it is http(s) on one of the `allowed` hosts or below it.

    Raises:
        Permanent: it is not; the message names the host and the setting.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme not in {"http", "https"} or not host:
        raise Permanent("file_url_refused", "the file's URL is no http(s) URL")
    if not any(host == name or host.endswith(f".{name}") for name in allowed):
        raise Permanent(
            "file_url_refused", f"the file is on {host}, which DOWNLOAD_HOSTS does not list"
        )
