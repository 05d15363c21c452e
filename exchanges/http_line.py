"""One thread's connection to one address: `requests`, told once what holds for every request.

A session of that library works out proxies, certificates, pool, cookies and redirects anew for
each request, and takes an address apart several times: half a millisecond on an idle processor's
cold caches. Here its adapter is used as it is, with those answers kept from the first request on;
time-outs, TLS, pooling and the kinds of errors stay the library's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies, select_proxy
from urllib3.exceptions import MaxRetryError, NewConnectionError

from exchanges.wire import HttpRequest

CONNECT_TIMEOUT_S = 3.05
MAX_REPLY = 32 << 20  # bytes; the largest documented reply, exchangeInfo, has about 1 MB
USER_AGENT = "gridfleet"

_HEADERS = {"User-Agent": USER_AGENT, "Accept": "application/json"}
_NO_BODY = frozenset({"GET", "HEAD"})


class NotSent(Exception):
    """The connection was not made: the request never left."""


class NoAnswer(Exception):
    """The request may have left; no whole answer came back."""


class _Adapter(HTTPAdapter):
    """The library's adapter for one address: its pool and its trust are found out once."""

    def __init__(self, *, is_proxied: bool) -> None:
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)
        self._is_proxied = is_proxied
        self._pool: Any = None  # urllib3's, of the one address
        self._is_trust_set = False
        self.target = ""  # of the request that is being sent

    def get_connection_with_tls_context(self, *args: Any, **options: Any) -> Any:
        if self._pool is None:
            self._pool = super().get_connection_with_tls_context(*args, **options)
        return self._pool

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        if not self._is_trust_set:  # it is kept in the pool
            super().cert_verify(conn, url, verify, cert)  # type: ignore[no-untyped-call]  # theirs
            self._is_trust_set = True

    def request_url(self, request: Any, proxies: Any) -> str:
        return super().request_url(request, proxies) if self._is_proxied else self.target


class HttpLine:
    """Exchanges requests and answers with one address, one at a time. One thread's own."""

    def __init__(self, base_url: str, clock: Callable[[], float]) -> None:
        """The environment's proxies and REQUESTS_CA_BUNDLE hold, as of now; no .netrc does."""
        self._base_url = base_url
        self._clock = clock
        self._proxies = get_environ_proxies(base_url)
        self._verify: str | bool = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._adapter = _Adapter(is_proxied=bool(select_proxy(base_url, self._proxies)))

    def exchange(
        self, request: HttpRequest, timeout_s: float
    ) -> tuple[int, str, Mapping[str, str]]:
        """Send a request as it was signed, byte for byte; gives status, text and headers.

        Errors: NotSent, NoAnswer, without its address.
        """
        deadline = self._clock() + 2 * timeout_s
        prepared = self._prepared(request)
        self._adapter.target = request.target
        try:
            with self._adapter.send(
                prepared,
                stream=True,
                timeout=(CONNECT_TIMEOUT_S, timeout_s),
                verify=self._verify,
                proxies=self._proxies,
            ) as response:
                chunks, size = [], 0
                for chunk in response.iter_content(65536):
                    chunks.append(chunk)
                    size += len(chunk)
                    if size > MAX_REPLY or self._clock() > deadline:
                        raise NoAnswer("its answer does not end")
                text = b"".join(chunks).decode("utf-8", "replace")
                return response.status_code, text, response.headers
        except requests.ConnectTimeout:
            raise NotSent("no connection in time") from None
        except requests.ConnectionError as error:
            if _never_left(error):
                raise NotSent("no connection") from None
            raise NoAnswer("the connection broke") from None
        except requests.Timeout:
            raise NoAnswer("no answer in time") from None
        except (requests.RequestException, OSError) as error:
            raise NoAnswer(type(error).__name__) from None

    def _prepared(self, request: HttpRequest) -> requests.PreparedRequest:
        """Fill in by hand what `prepare` would work out, and write in its own way."""
        headers = CaseInsensitiveDict(_HEADERS)
        headers.update(request.headers)
        body = request.body
        if body is not None:
            headers["Content-Length"] = str(len(body))
        elif request.method not in _NO_BODY:
            headers["Content-Length"] = "0"
        prepared = requests.PreparedRequest()
        prepared.method = request.method
        prepared.url = self._base_url + request.target
        prepared.headers = headers
        prepared.body = body
        return prepared

    def close(self) -> None:
        self._adapter.close()


def _never_left(error: requests.ConnectionError) -> bool:
    """Tell whether the connection itself was refused, so that no byte was sent."""
    inner = error.args[0] if error.args else None
    reason = inner.reason if isinstance(inner, MaxRetryError) else inner
    return isinstance(reason, NewConnectionError)
