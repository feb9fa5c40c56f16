"""The share's side of joining, over TLS (docs/protocol.md 7); the guest's: connect_vm/join_share.

A relay runs the same code for names that are not shared (relay/decoy.py), so that who knows
no code learns nothing from how a join is answered. Whatever is added here happens there too.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tunnel import join
from tunnel.attempts import Attempts
from tunnel.codes import Code
from tunnel.errors import LostError, RefusedError, RemoteProtocolError, VshareError
from tunnel.identity import PublicKey, key_of_request
from tunnel.names import JoinCode, ShareName
from tunnel.pake import refuse
from tunnel.source import source_of
from tunnel.tls_messages import TlsMessages

SPAKE_AT_ONCE = 2  # 18 ms of CPU each, in threads

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Newcomer:
    """Somebody who proved a code. `address` is the relay's word."""

    guest: str  # what it calls itself: at most join.MAX_NAME characters, of any kind
    key: PublicKey
    plate: str  # which code it proved: an invite's; "" the share's own
    address: str
    code: JoinCode = field(repr=False)  # that was proven; there may be another one by now


@dataclass(frozen=True, slots=True)
class Issued:
    """What a newcomer gets: certificate and CA (DER), and the share's route at the relay."""

    certificate: bytes
    ca: bytes
    route: str = ""


class JoinDesk(Protocol):
    """What the exchange asks of the share."""

    def code_for(self, plate: str) -> JoinCode:
        """The code of that plate; a random one for a plate that is not given out, so that the
        exchange goes on and ends as with any wrong code."""

    async def admit(self, newcomer: Newcomer, wait: Callable[[str], None]) -> Issued:
        """Let in who proved a code. Raises RefusedError, with words for the newcomer.

        `wait(text)` tells him that it takes a while, and why. Cancelled when he leaves, or
        after join.APPROVAL_WITHIN.
        """

    def failed(self, text: str, address: str, guessed: bool) -> None:
        """A join came to nothing; `guessed`: it has to be counted as a wrong code."""


class JoinServer:
    """Answers joins for one share. `spake` is shared by those that share a processor. `name` may
    be another one while it serves: joins that have begun go on under the one before."""

    def __init__(
        self,
        name: ShareName,
        certificate: bytes,
        attempts: Attempts,
        desk: JoinDesk,
        spake: asyncio.Semaphore | None = None,
    ) -> None:
        self.name, self._certificate = name, certificate
        self._attempts, self._desk = attempts, desk
        self._spake = spake or asyncio.Semaphore(SPAKE_AT_ONCE)

    async def serve(
        self, messages: TlsMessages, address: str, proven: Callable[[], None] = lambda: None
    ) -> None:
        """One join, to its end; the connection is closed then. `proven()` is called when the
        attempts' limit let it through: from there on that bounds how many there are."""
        exchange = _Exchange(messages, address)
        try:
            async with asyncio.timeout(join.JOIN_TIMEOUT):
                attempt, newcomer = await self._prove(exchange, proven)
            issued = await self._admit(exchange, attempt, newcomer)
            messages.send(attempt.issue(issued.certificate, issued.ca, issued.route))
        except (VshareError, TimeoutError) as error:
            self._failed(exchange, error)
        finally:
            messages.close()

    async def _prove(
        self, exchange: _Exchange, proven: Callable[[], None]
    ) -> tuple[join.ShareJoin, Newcomer]:
        """Messages 1 to 3. Raises VshareError."""
        loop, messages, source = asyncio.get_running_loop(), exchange.messages, exchange.source
        first = await messages.receive()
        self._attempts.take(source, loop.time())
        proven()
        plate = join.plate_of_request(first, self.name)
        code = self._desk.code_for(plate)
        attempt = join.ShareJoin(self.name, code, self._certificate, os.urandom)
        async with self._spake:
            second = await asyncio.to_thread(attempt.answer, first)
        key = key_of_request(attempt.request)
        exchange.guessed = True
        self._attempts.failed(source, loop.time())  # hanging up is a guess as well: not free
        messages.send(second)
        attempt.confirm(await messages.receive())
        self._attempts.succeeded(source, loop.time())
        exchange.guessed = False
        return attempt, Newcomer(attempt.guest, key, plate, exchange.address, code)

    async def _admit(
        self, exchange: _Exchange, attempt: join.ShareJoin, newcomer: Newcomer
    ) -> Issued:
        """What the desk issues, while the newcomer stays. Raises VshareError."""
        said = 0

        def wait(text: str) -> None:
            nonlocal said
            said += 1
            if said <= join.MAX_WAITINGS:
                exchange.messages.send(attempt.waiting(text))

        try:
            async with asyncio.timeout(join.APPROVAL_WITHIN), asyncio.TaskGroup() as group:
                gone = group.create_task(_gone(exchange.messages), name="newcomer gone")
                admitting = group.create_task(self._decide(newcomer, wait), name="admission")
                await asyncio.wait((admitting, gone), return_when=asyncio.FIRST_COMPLETED)
                admitting.cancel()
                gone.cancel()
        except TimeoutError:
            raise RefusedError(Code.TIMED_OUT, "nobody let you in in time") from None
        decided = gone.result() if admitting.cancelled() else admitting.result()
        if isinstance(decided, VshareError):
            raise decided
        return decided

    async def _decide(
        self, newcomer: Newcomer, wait: Callable[[str], None]
    ) -> Issued | VshareError:
        """The desk's word; a no is a value, since a task group would wrap it."""
        try:
            return await self._desk.admit(newcomer, wait)
        except VshareError as error:
            return error

    def _failed(self, exchange: _Exchange, error: Exception) -> None:
        if isinstance(error, RefusedError):
            exchange.messages.send(refuse(error.code, error.text))
        elif isinstance(error, RemoteProtocolError):
            text = "the join was not understood"
            exchange.messages.send(refuse(Code.PROTOCOL_ERROR, text))
        text = error.text if isinstance(error, VshareError) else "it took too long"
        log.info("a join from %r failed: %s", exchange.address, text)
        self._desk.failed(text, exchange.address, exchange.guessed)


class _Exchange:
    """One join under way; `guessed` while it has to be counted as a wrong code."""

    def __init__(self, messages: TlsMessages, address: str) -> None:
        self.messages, self.address = messages, address
        self.source = source_of(address)
        self.guessed = False


async def _gone(messages: TlsMessages) -> VshareError:
    """Why a newcomer who has nothing more to say is not waited with any longer."""
    try:
        await messages.receive()
    except LostError:
        return LostError("the newcomer left before it was let in")
    except RemoteProtocolError as error:
        return error
    return RemoteProtocolError("a newcomer spoke out of turn")
