"""Connecting through a proxy: CONNECT in the event loop, SOCKS5 by PySocks in a thread.

Either gives a plain TCP socket, so that everything that works on a direct one works on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor

import socks

from tunnel.address import without_zone
from tunnel.dialler import Address, dial, reason_of, resolve, tune
from tunnel.errors import RefusedError
from tunnel.proxy import HTTP, Proxy, ProxyError
from tunnel.proxy_connect import ConnectRequest
from tunnel.proxy_way import is_literal

RECEIVE = 4096  # bytes
SOCKS_THREADS = 16  # negotiations at once; their own threads, so that a dead proxy stops no others
_THREADS = ThreadPoolExecutor(SOCKS_THREADS, thread_name_prefix="socks5")
_NOT_ALLOWED = "0x02"  # RFC 1928 6, as PySocks begins its texts


async def dial_through(proxy: Proxy, host: str, port: int, deadline: float) -> socket.socket:
    """A connected, non-blocking, tuned socket that leads to `host`; the caller closes it.

    `deadline`: seconds from now for everything. Raises ProxyError, RefusedError when a name has
    to be resolved here and cannot be. Cancelled: nothing stays open for longer than the
    negotiation takes to notice.
    """
    try:
        async with asyncio.timeout(deadline):
            if proxy.scheme == HTTP:
                return await _connect(proxy, host, port, deadline)
            return await _socks5(proxy, host, port, deadline)
    except TimeoutError:
        raise ProxyError(
            f"no answer from {host}:{port} through the proxy {proxy} in {deadline:g} s",
            ask=f"the proxy has to be able to connect to {host}:{port} (TCP)",
        ) from None


async def dial_proxy(proxy: Proxy, deadline: float) -> socket.socket:
    """A connected socket to the proxy itself. Raises ProxyError."""
    try:
        return await dial(proxy.host, proxy.port, deadline)
    except RefusedError as error:
        raise _unreachable(proxy, error.text) from error


def _unreachable(proxy: Proxy, reason: str) -> ProxyError:
    return ProxyError(
        f"the proxy {proxy} cannot be reached: {reason}",
        f"check {proxy.source}; or name the relay's host in no_proxy if it is reached without",
    )


async def _connect(proxy: Proxy, host: str, port: int, deadline: float) -> socket.socket:
    loop = asyncio.get_running_loop()
    request = ConnectRequest(proxy, host, port)
    sock = await dial_proxy(proxy, deadline)
    try:
        await loop.sock_sendall(sock, request.data_to_send())
        while not request.receive_data(await loop.sock_recv(sock, RECEIVE)):
            pass
    except OSError as error:
        sock.close()
        if isinstance(error, TimeoutError):
            raise
        raise _unreachable(proxy, reason_of(error)) from error
    except BaseException:
        sock.close()
        raise
    return sock


async def _socks5(proxy: Proxy, host: str, port: int, deadline: float) -> socket.socket:
    """Each address of the proxy in turn, with its part of the time; then a target's next one."""
    targets = [without_zone(host)]
    if not proxy.resolves and not is_literal(targets[0]):
        targets = [str(place[0]) for _, place in await resolve(host, port)]
    try:
        places = await resolve(proxy.host, proxy.port)
    except RefusedError as error:
        raise _unreachable(proxy, error.text) from error
    patience = deadline / max(len(places), 1)
    failure = ProxyError(f"the proxy {proxy} has no address")
    for target in targets:
        for address in places:
            try:
                return await _negotiate(proxy, address, (target, port), patience)
            except socks.ProxyConnectionError as error:
                failure = _unreachable(proxy, _cause(error))
            except OSError as error:  # PySocks' errors are
                if isinstance(error, TimeoutError):
                    raise
                failure = _in_words(proxy, f"{host}:{port}", error)
                break  # this proxy has spoken
    raise failure


async def _negotiate(
    proxy: Proxy, address: Address, target: tuple[str, int], patience: float
) -> socket.socket:
    """One try, in a thread. Raises what PySocks does.

    Cancelled: the socket is shut down, which wakes the thread, and closed when that is done
    with it; closing it at once could hand its number to somebody else meanwhile.
    """
    family, place = address
    sock = socks.socksocket(family)
    sock.set_proxy(
        socks.SOCKS5, place[0], place[1], proxy.resolves, proxy.user or None, proxy.password or None
    )
    sock.settimeout(patience)
    work = _THREADS.submit(sock.connect, target)
    try:
        await asyncio.wrap_future(work)
    except BaseException:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        work.add_done_callback(lambda _: sock.close())
        raise
    plain = socket.socket(fileno=sock.detach())
    plain.setblocking(False)
    tune(plain)
    return plain


def _cause(error: socks.ProxyError) -> str:
    cause = error.socket_err
    return reason_of(cause) if isinstance(cause, OSError) else str(error.msg).lower()


def _in_words(proxy: Proxy, target: str, error: OSError) -> ProxyError:
    inner = getattr(error, "socket_err", None)
    if isinstance(inner, socks.ProxyError):  # PySocks wraps its own errors, too
        error = inner
    if isinstance(error, socks.SOCKS5AuthError):
        if proxy.user:
            return ProxyError(
                f"the proxy {proxy} does not accept user and password",
                f"check them in {proxy.source}; special characters are written as %XX",
            )
        return ProxyError(
            f"the proxy {proxy} wants a user and a password",
            f"put them into {proxy.source}: {proxy.scheme}://USER:PASSWORD@HOST:PORT",
        )
    if isinstance(error, socks.SOCKS5Error):
        code, _, text = str(error.msg).partition(": ")
        said = f"the proxy {proxy} answered: {text.lower()}"
        if code == _NOT_ALLOWED:
            return ProxyError(said, ask=f"the proxy has to allow connections to {target} (TCP)")
        return ProxyError(
            f"{said}: it does not reach {target}",
            ask=f"the proxy has to be able to connect to {target} (TCP); check first that the"
            " relay runs",
        )
    reason = _cause(error) if isinstance(error, socks.ProxyError) else reason_of(error)
    return ProxyError(
        f"the proxy {proxy} does not answer as a SOCKS5 proxy: {reason}",
        f"check host, port and kind of the proxy in {proxy.source}",
    )
