"""Hosts: from where a file may be fetched."""

from collections.abc import Collection

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from worker.errors import Permanent, Transient


def check(url: str, allowed: Collection[str]) -> None:
    """Let `url` pass if it is http(s) on one of the `allowed` hosts or below it.

    It is read by the parser that requests connects by. Parsers differ over a backslash
    before an `@`, say, and another one would let pass what is then fetched from elsewhere.

    Raises:
        Transient: its host is not listed; the message names the host and the setting.
        Permanent: it is no URL that anything may be fetched from.
    """
    try:
        parts = parse_url(url)
    except LocationParseError:
        raise Permanent("file_url_refused", "the file's URL can't be read") from None
    host = (parts.host or "").strip("[]").rstrip(".")
    if parts.scheme not in {"http", "https"} or not host:
        raise Permanent("file_url_refused", "the file's URL is no http(s) URL")
    if parts.auth is not None:
        raise Permanent("file_url_refused", "the file's URL names a user")
    if not any(host == name or host.endswith(f".{name}") for name in allowed):
        # the file is paid for, and the setting is ours to mend
        raise Transient(
            "file_host_unlisted", f"the file is on {host}, which DOWNLOAD_HOSTS does not list"
        )
