"""Asking an HTTP proxy for a tunnel: CONNECT (RFC 9110 9.3.6). Pure.

The relay never speaks first, so whatever follows the proxy's head is not the relay's: it is
refused rather than handed on.
"""

from __future__ import annotations

import base64

import h11

from tunnel.address import without_zone
from tunnel.proxy import Proxy, ProxyError

MAX_HEAD = 16 * 1024  # bytes of an answer's head; the largest that was met had 2 KiB
MAX_REASON = 80  # characters of a reason phrase that are shown
MAX_INTERIM = 8  # 1xx answers before the one that counts


class ConnectRequest:
    """One request: send `data_to_send()`, then feed what comes until it says the way is open."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._target = authority(host, port)
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self._interim = 0

    def data_to_send(self) -> bytes:
        """The request."""
        headers = [("Host", self._target), ("User-Agent", "vshare")]
        if self._proxy.user or self._proxy.password:
            pair = f"{self._proxy.user}:{self._proxy.password}".encode()
            value = "Basic " + base64.b64encode(pair).decode()
            headers.append(("Proxy-Authorization", value))
        request = h11.Request(method="CONNECT", target=self._target, headers=headers)
        return self._http.send(request) or b""

    def receive_data(self, data: bytes) -> bool:
        """Whether the tunnel is open after `data` (b"": the proxy hung up). Raises ProxyError."""
        try:
            self._http.receive_data(data)
            while True:
                event = self._http.next_event()
                if event is h11.NEED_DATA:
                    return False
                if isinstance(event, h11.Response):
                    return self._decide(event)
                self._interim += 1
                if self._interim > MAX_INTERIM:
                    raise self._nonsense("it does not come to an answer")
        except h11.RemoteProtocolError as error:
            if not data:
                raise self._nonsense("it closed the connection") from error
            raise self._nonsense("what it sent is not HTTP") from error

    def _nonsense(self, what: str) -> ProxyError:
        return ProxyError(
            f"the proxy {self._proxy} does not answer as an HTTP proxy: {what}",
            f"check host, port and kind of the proxy in {self._proxy.source}",
        )

    def _decide(self, answer: h11.Response) -> bool:
        if not 200 <= answer.status_code < 300:
            raise self._refusal(answer)
        if self._http.trailing_data[0]:
            raise self._nonsense("it speaks in the relay's place")
        return True

    def _refusal(self, answer: h11.Response) -> ProxyError:
        """What a status means here (RFC 9110 15), and who can do something about it."""
        status, target, proxy = answer.status_code, self._target, self._proxy
        reason = answer.reason.decode("latin-1")[:MAX_REASON].strip()
        said = f"the proxy {proxy} answered {status}{' ' + reason if reason else ''}"
        if status == 407:
            return self._unauthenticated(said, answer)
        if status in (401, 403, 405, 451):
            return ProxyError(
                f"{said}: it does not allow connections to {target}",
                ask=f"the proxy has to allow CONNECT to {target}"
                " (many allow port 443 alone), without looking inside",
            )
        if status in (502, 503, 504):
            return ProxyError(
                f"{said}: it does not reach {target}",
                ask=f"the proxy has to be able to connect to {target} (TCP) and to resolve the"
                " name; check first that the relay runs",
            )
        return ProxyError(
            f"{said} to CONNECT {target}",
            f"check that {proxy.source} names a proxy that allows CONNECT",
            f"the proxy has to allow CONNECT to {target}",
        )

    def _unauthenticated(self, said: str, answer: h11.Response) -> ProxyError:
        offers = [
            value.decode("latin-1").split(" ")[0].strip(",").lower()
            for name, value in answer.headers
            if name == b"proxy-authenticate" and value
        ]
        if offers and "basic" not in offers:
            names = ", ".join(sorted(set(offers)))[:MAX_REASON]
            return ProxyError(
                f"{said}: it wants authentication by {names}, and only Basic is supported",
                "run a local proxy that can do it (cntlm, px) and name that one in"
                f" {self._proxy.source}",
                f"the proxy has to allow Basic authentication, or {self._target} without any",
            )
        if self._proxy.user or self._proxy.password:
            return ProxyError(
                f"{said}: it does not accept user and password",
                f"check them in {self._proxy.source}; special characters are written as %XX",
            )
        return ProxyError(
            f"{said}: it wants a user and a password",
            f"put them into {self._proxy.source}: http://USER:PASSWORD@HOST:PORT",
        )


def authority(host: str, port: int) -> str:
    """`host` and `port` in authority form (RFC 9112 3.2.3). Raises ProxyError for no host name."""
    host = without_zone(host)
    if ":" in host:
        return f"[{host}]:{port}"
    try:
        return f"{host.encode('idna').decode('ascii')}:{port}"
    except UnicodeError:
        raise ProxyError(f"not a host name: {host[:100]!r}", "check the relay's address") from None
