"""Hosts: from where a file may be fetched, by its URL and by the address behind it."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from worker.errors import Permanent, Transient

# All that is given out for use between networks (IANA, "IPv6 Address Space").
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# An IPv4 address in its last 32 bits, for networks that have IPv6 only (RFC 6052, 2.1).
_NAT64 = IPv6Network("64:ff9b::/96")


def check(url: str, allowed: Collection[str]) -> None:
    """Let `url` pass if it is http(s) on one of the `allowed` hosts or below it.

    It is read by the parser that requests connects by. Parsers differ over a backslash
    before an `@`, say, and another one would let pass what is then fetched from elsewhere.

    Args:
        url: where the file is said to be.
        allowed: names of hosts, addresses, and networks such as `10.1.0.0/16`.

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
    if _is_in_a_network(host, allowed):
        return
    if not any(host == name or host.endswith(f".{name}") for name in allowed):
        # the file is paid for, and the setting is ours to mend
        raise Transient(
            "file_host_unlisted", f"the file is on {host}, which DOWNLOAD_HOSTS does not list"
        )


def check_address(host: str, address: str, allowed: Collection[str]) -> None:
    """Let `address` pass if it is public, or in a network that is listed itself.

    A listed name does not vouch for where it leads: whoever answers for it could have the worker
    ask the machines around it.

    Args:
        host: the name whose address it is.
        address: an IP address, as the resolver gave it.
        allowed: as `check` takes it.

    Raises:
        Transient: neither; the message names the host, the address and the setting.
    """
    if not _is_public(address) and not _is_in_a_network(address, allowed):
        raise Transient(
            "file_host_unlisted",
            f"the file's host {host} is at {address}, an address that is not public,"
            " and DOWNLOAD_HOSTS lists no network that it is in",
        )


def _is_public(address: str) -> bool:
    ip = _plain(address)
    if isinstance(ip, IPv6Address):
        if ip in _NAT64:
            return _is_public(str(IPv4Address(ip.packed[-4:])))
        is_tunnel = ip.sixtofour or ip.teredo  # to any IPv4 address; nobody serves files by one
        return ip in _GLOBAL_UNICAST and ip.is_global and not is_tunnel
    return ip.is_global and not ip.is_multicast


def _is_in_a_network(host: str, allowed: Collection[str]) -> bool:
    try:
        writings = {ip_address(host), _plain(host)}
    except ValueError:
        return False
    for entry in allowed:
        try:
            network = ip_network(entry)
        except ValueError:
            continue
        if any(ip in network for ip in writings):
            return True
    return False


def _plain(address: str) -> IPv4Address | IPv6Address:
    """Return the address; an IPv4 one that is written as IPv6 (`::ffff:10.0.0.1`) as IPv4."""
    ip = ip_address(address)
    return (isinstance(ip, IPv6Address) and ip.ipv4_mapped) or ip
