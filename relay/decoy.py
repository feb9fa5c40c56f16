"""Answers joins for names that are not shared, as a share with another code would.

So a stranger who tries names learns nothing: no name is told from one that is not there, or
is away (docs/protocol.md 3). The exchange is tunnel/join_server.py's, the very one that shares
run; the certificate stays the same for some hours, as a share's does; and what is answered
comes as late as from a share that is connected now.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import hmac
import logging
import secrets
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence

from relay import join_line
from tunnel import join
from tunnel.attempts import Attempts
from tunnel.codes import Code
from tunnel.errors import RefusedError, VshareError
from tunnel.identity import Authority, Identity, join_server_context
from tunnel.join_server import SPAKE_AT_ONCE, Issued, JoinServer, Newcomer
from tunnel.names import JoinCode, ShareName, make_code
from tunnel.tls_messages import TlsMessages
from tunnel.tls_socket import handshake

MAX_DECOYS = 2_048  # names remembered; 25 KiB each
# Seconds that a share seems to last, and may seem to have run, as its certificate tells.
LONGEST = 8 * 3600

SHORT = 0.001  # seconds: below it, a timer takes longer than the way

# The round trips to each connected share, in seconds, as measured lately.
RoundTrips = Callable[[], Mapping[ShareName, Sequence[float]]]

log = logging.getLogger(__name__)


class _NobodysDesk:
    """See JoinDesk: every code is a wrong one."""

    def code_for(self, plate: str) -> JoinCode:
        return make_code(secrets.randbelow)

    async def admit(self, newcomer: Newcomer, wait: Callable[[str], None]) -> Issued:
        """He guessed a code that nobody has."""
        raise RefusedError(Code.WRONG_CODE, "the code is not right")

    def failed(self, text: str, address: str, guessed: bool) -> None:
        """As it had to be."""


class _Decoy:
    """What one name seems to be. Keys and certificates are made when they are asked for: while
    the visitor's first bytes are under way."""

    def __init__(self, name: ShareName, digest: bytes, spake: asyncio.Semaphore) -> None:
        self._name, self._spake = name, spake
        self._choice = int.from_bytes(digest[:8], "big")
        lasts = 1 + secrets.randbelow(LONGEST)
        age = secrets.randbelow(lasts)
        self.ends_at = asyncio.get_running_loop().time() + lasts - age
        self._started = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=age)
        self._like: ShareName | None = None
        self._round_trips: Sequence[float] = ()

    def delay(self, observed: Mapping[ShareName, Sequence[float]]) -> float:
        """Seconds that one direction takes: as to one share, always the same while it is there."""
        if self._like not in observed and observed:
            names = sorted(observed)
            self._like = names[self._choice % len(names)]
        if self._like is not None and self._like in observed:
            self._round_trips = observed[self._like]
        if not self._round_trips:
            return 0.0
        # The slower half was held up by something else: a PING finds the share at any moment.
        usual = sorted(self._round_trips)[: -(-len(self._round_trips) // 2)]
        one_way = secrets.choice(usual) / 2
        return one_way if one_way > SHORT else 0.0

    @functools.cached_property
    def _identity(self) -> Identity:
        return Authority(self._name, self._started).issue_share()

    @functools.cached_property
    def _context(self) -> ssl.SSLContext:
        return join_server_context(self._identity, join.ALPN)

    @functools.cached_property
    def _server(self) -> JoinServer:
        attempts = Attempts(asyncio.get_running_loop().time())
        certificate = self._identity.certificate
        return JoinServer(self._name, certificate, attempts, _NobodysDesk(), self._spake)

    async def answer(self, sock: socket.socket, address: str) -> None:
        """One join, as vshare/server.py answers it."""
        for _ in range(2):
            await asyncio.sleep(0)  # the line begins: what is made here takes none of its time
        try:
            tls = await handshake(sock, self._context)
            if tls.alpn != join.ALPN:
                tls.abort()
                return
            await self._server.serve(TlsMessages(tls), address)
        except (VshareError, OSError, TimeoutError) as error:
            log.debug("a join at a decoy, from %s: %s", address, error)


class Decoys:
    """The decoys of a relay."""

    def __init__(self, round_trips: RoundTrips) -> None:
        self._round_trips = round_trips
        self._secret = secrets.token_bytes(32)
        self._spake = asyncio.Semaphore(SPAKE_AT_ONCE)
        self._decoys: OrderedDict[ShareName, _Decoy] = OrderedDict()  # the longest unused first

    async def serve(self, visitor: socket.socket, name: ShareName, address: str) -> None:
        """Answer the join that `visitor` begins with, to its end; closes it."""
        with contextlib.ExitStack() as stack:
            stack.callback(visitor.close)
            ours, theirs = socket.socketpair()
            stack.callback(ours.close)
            stack.callback(theirs.close)
            for sock in (ours, theirs):
                sock.setblocking(False)
            decoy = self._decoy(name)
            delay = decoy.delay(self._round_trips())
            async with asyncio.TaskGroup() as group:
                answering = group.create_task(decoy.answer(theirs, address), name=f"decoy {name}")
                await join_line.connect(visitor, ours, delay)
                answering.cancel()

    def forget(self, name: ShareName) -> None:
        """A share of that name has come or gone: what its decoy showed before never comes back."""
        self._decoys.pop(name, None)

    def _decoy(self, name: ShareName) -> _Decoy:
        decoy = self._decoys.get(name)
        if decoy is None or decoy.ends_at < asyncio.get_running_loop().time():
            digest = hmac.digest(self._secret, name.encode(), "sha256")
            decoy = self._decoys[name] = _Decoy(name, digest, self._spake)
            if len(self._decoys) > MAX_DECOYS:
                self._decoys.popitem(last=False)
        self._decoys.move_to_end(name)
        return decoy
