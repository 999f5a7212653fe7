"""Session: the HTTP session that files are fetched through.

It connects only to addresses that files may come from, and what it waits for can be cut short
from another thread.
"""

import os
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from threading import Lock
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from worker.errors import Transient
from worker.proxies import Session
from worker.transfer import hosts
from worker.transfer.guard import Guard

_ANYWHERE = ("0.0.0.0/0", "::/0")


class FileSession(Session):
    """An HTTP session for one thread, to fetch files through from `allowed` hosts.

    Attributes:
        allowed: names of hosts, addresses and networks.
    """

    def __init__(self, allowed: Collection[str], lines: "_Lines | None" = None) -> None:
        super().__init__()
        self.allowed = allowed
        self.auth = _as_it_is
        self._lines = _Lines() if lines is None else lines
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter(allowed, self._lines))

    def sibling(self) -> "FileSession":
        """Return a session like this one, for another thread; what cuts this one cuts both."""
        return FileSession(self.allowed, self._lines.branch())

    def hang_up(self) -> None:
        """Close the connections at once: what they still bring is not wanted."""
        self._lines.hang_up()

    def let_go(self) -> None:
        """Keep the connections for the next request: what they were to bring has come."""
        self._lines.let_go()

    def cut(self) -> None:
        """Have whatever is done here end at once, until the next `interruptible` ends."""
        self._lines.cut()

    @contextmanager
    def interruptible(self, guard: Guard) -> Iterator[None]:
        """Have what is done here cut short if `guard` wants it to stop.

        A connection that was cut looks like one that broke or came to its end, so the guard is
        asked before anybody makes something of that.
        """
        try:
            with guard.watched(self._lines.cut):
                yield
        except Transient:
            guard.check()
            raise
        finally:
            self._lines.forget()
        guard.check()


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Add no credentials; without this, requests adds those that ~/.netrc has for the host."""
    return request


class _Lines:
    """The sockets in use, each by a descriptor of our own.

    urllib3 can shut down a reply that it reads (`HTTPResponse.shutdown`), but not a connection
    that is being made or whose server has not answered yet; and under TLS, what is read after its
    shutdown may be taken for content without being deciphered. The socket below knows neither.
    """

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._branches: list[_Lines] = []
        self._is_cut = False
        self._lock = Lock()

    def branch(self) -> "_Lines":
        """Return lines that are cut and forgotten with these."""
        branch = _Lines()
        with self._lock:
            branch._is_cut = self._is_cut
            self._branches.append(branch)
        return branch

    def add(self, used: socket.socket) -> None:
        """Note a socket that is used from now on.

        Raises:
            ConnectionAbortedError: none is to be used any more.
        """
        with self._lock:
            if self._is_cut:
                raise ConnectionAbortedError
            self._sockets.append(socket.socket(fileno=os.dup(used.fileno())))

    def cut(self) -> None:
        """Have every read and every connect end at once, here and until they are forgotten."""
        with self._lock:
            self._is_cut = True
            self._shut_down()
            branches = list(self._branches)
        for branch in branches:
            branch.cut()

    def hang_up(self) -> None:
        """Have those end that there are."""
        with self._lock:
            self._shut_down()
            self._close()

    def let_go(self) -> None:
        """Have none any more, and end none."""
        with self._lock:
            self._close()

    def forget(self) -> None:
        """Have none any more, and begin anew."""
        with self._lock:
            self._close()
            self._is_cut = False
            for branch in self._branches:
                branch.forget()
            self._branches.clear()

    def _shut_down(self) -> None:
        for line in self._sockets:
            with suppress(OSError):  # not connected (any more)
                line.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        for line in self._sockets:
            line.close()
        self._sockets.clear()


class _Checked(HTTPConnection):
    """A connection to an address that was checked: the very one, so that no name is asked twice."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401  (urllib3's)
        allowed: Collection[str],
        lines: _Lines,
        **options: Any,  # noqa: ANN401  (same)
    ) -> None:
        super().__init__(*args, **options)
        self._allowed = allowed
        self._lines = lines

    def request(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  (urllib3's)
        """Send a request, which can be cut on a connection that was kept, too."""
        if self.sock is not None:
            self._lines.add(self.sock)
        super().request(*args, **options)

    def _new_conn(self) -> socket.socket:
        """Connect, as `urllib3.util.connection.create_connection` does; urllib3 calls this."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NameResolutionError(self.host, self, cast("socket.gaierror", error)) from error
        last: OSError | None = None
        for family, kind, protocol, _, place in found:
            hosts.check_address(self.host, str(place[0]), self._allowed)
            line = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    line.setsockopt(*option)
                line.settimeout(cast("float", self.timeout))
                self._lines.add(line)
                line.connect(place)
            except OSError as error:
                line.close()
                last = error
            else:
                return line
        if isinstance(last, TimeoutError):
            raise ConnectTimeoutError(self, "no answer") from last
        raise NewConnectionError(self, str(last)) from last


class _CheckedTls(_Checked, HTTPSConnection):
    """The same under TLS; name and certificate are those of the URL."""


class _Adapter(HTTPAdapter):
    """Has requests connect by our connections."""

    def __init__(self, allowed: Collection[str], lines: _Lines) -> None:
        self._allowed = allowed
        self._lines = lines
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # noqa: ANN401  (requests')
        """Make the pools of connections; requests calls this."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools(self._allowed)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401  (requests')
        """Return the pools behind a proxy of the environment's; requests calls this.

        It is the administrator's own, wherever it is, and resolves names by itself: what goes
        through it is checked by the name in its URL only.
        """
        manager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # that has connections of its own
            manager.pool_classes_by_scheme = self._pools(_ANYWHERE)
        return manager

    def _pools(self, allowed: Collection[str]) -> dict[str, Callable[..., HTTPConnectionPool]]:
        ours: dict[str, Any] = {"allowed": allowed, "lines": self._lines}
        return {
            "http": _pool(HTTPConnectionPool, partial(_Checked, **ours)),
            "https": _pool(HTTPSConnectionPool, partial(_CheckedTls, **ours)),
        }


def _pool(
    kind: type[HTTPConnectionPool], connection: Callable[..., HTTPConnection]
) -> Callable[..., HTTPConnectionPool]:
    def make(*args: Any, **options: Any) -> HTTPConnectionPool:  # noqa: ANN401  (urllib3's)
        pool = kind(*args, **options)
        pool.ConnectionCls = cast("Any", connection)
        return pool

    return make
