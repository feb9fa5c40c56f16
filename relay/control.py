"""The relay's side of the control channel (docs/protocol.md 4)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from starlette.websockets import WebSocket, WebSocketDisconnect

from relay.names import NameBook
from relay.registry import LocalRegistry, Share
from tunnel import control
from tunnel.control import Challenge, Ended, FromRelay, Register, Registered, Rejected
from tunnel.errors import RemoteProtocolError, UsageError
from tunnel.names import ShareName, parse_name

REGISTER_WITHIN = 10.0  # seconds from the challenge
SEND_WITHIN = 10.0  # seconds for a message to leave; a peer that does not read is ended
MAX_LEASE = 30 * 86_400.0  # seconds; a share that lives longer registers again
POLICY_VIOLATION = 1008  # RFC 6455 7.4.1
SERVICE_RESTART = 1012  # IANA's WebSocket close codes

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Urls:
    """How this relay's shares are reached by browsers; `sole_host` as in Sites."""

    domain: str
    port: int
    sole_host: str = ""

    def http(self, name: str) -> str:
        """The plain URL of a share."""
        host = self.sole_host or f"{name}.{self.domain}"
        return f"http://{host}{'' if self.port == 80 else f':{self.port}'}/"

    def https(self, name: str) -> str:
        """The encrypted URL of a share; empty where TLS without a name means the relay itself."""
        if self.sole_host:
            return ""
        return f"https://{name}.{self.domain}{'' if self.port == 443 else f':{self.port}'}/"


class RejectionError(Exception):
    """A registration that is not accepted, as the message that says so."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.message = Rejected(code, text)


class Control:
    """Registers shares and speaks with them for as long as they stay."""

    def __init__(
        self,
        registry: LocalRegistry,
        names: NameBook,
        urls: Urls,
        certificate: bytes,
        gateway_key: bytes,
    ) -> None:
        self._registry, self._names, self._urls = registry, names, urls
        self._certificate, self._gateway_key = certificate, gateway_key

    async def serve(self, channel: WebSocket) -> None:
        """One session, from accept to close."""
        await channel.accept()
        with contextlib.suppress(WebSocketDisconnect, TimeoutError):
            share = await self._register(channel)
            if share is not None:
                try:
                    await self._converse(channel, share)
                finally:
                    self._registry.remove(share)
                    log.info("share %s left", share.name)
        with contextlib.suppress(Exception):  # it may be closed already, which is what is wanted
            await channel.close(SERVICE_RESTART)

    async def _register(self, channel: WebSocket) -> Share | None:
        nonce = secrets.token_bytes(control.NONCE)
        challenge = Challenge(nonce, self._urls.domain, control.VERSION, self._gateway_key)
        await _send(channel, challenge)
        try:
            async with asyncio.timeout(REGISTER_WITHIN):
                request = control.parse_from_share(await channel.receive_text())
            if not isinstance(request, Register):
                raise RemoteProtocolError("the first message was not a registration")
            share = self._admit(request, nonce)
        except RejectionError as rejection:
            log.info("refused a share: %s", rejection.message.text)
            await _send(channel, rejection.message)
            return None
        except (RemoteProtocolError, KeyError) as error:
            log.info("control channel: %s", error)
            await channel.close(POLICY_VIOLATION)
            return None
        name, lease = share.name, share.ends_at - time.time()
        urls = self._urls
        url, https_url = (urls.http(name), urls.https(name)) if request.http else ("", "")
        share.outgoing.put_nowait(Registered(name, urls.domain, url, https_url, max(0.0, lease)))
        share.lot.fill()
        log.info("share %s registered", name)
        return share

    def _admit(self, request: Register, nonce: bytes) -> Share:
        if request.version != control.VERSION:
            raise RejectionError("version", f"this relay speaks version {control.VERSION}")
        try:
            signed = control.signed_bytes(nonce, self._certificate, request.name)
            Ed25519PublicKey.from_public_bytes(request.key).verify(request.signature, signed)
        except (ValueError, InvalidSignature):
            raise RejectionError(
                "signature", "the registration is not signed for this relay"
            ) from None
        key_hash = hashlib.sha256(request.key).digest()
        if self._names.is_anothers_route(request.route, key_hash):
            raise RejectionError("route-taken", "that route belongs to somebody else")
        ends_at = time.time() + min(request.expires_in, MAX_LEASE)
        name = self._name_for(request, key_hash, ends_at)
        give = self._registry.give_tickets
        share = Share(name, key_hash, request.http, ends_at, give, request.route)
        if not self._registry.add(share):
            raise RejectionError("full", "this relay has as many shares as it can take")
        return share

    def _name_for(self, request: Register, key_hash: bytes, ends_at: float) -> ShareName:
        now, names, route, http = time.time(), self._names, request.route, request.http
        if not request.name:
            drawn = names.draw(key_hash, now, ends_at, secrets.randbelow, route=route, http=http)
            if drawn is None:
                raise RejectionError("full", "no free name was found")
            return drawn
        try:
            name = parse_name(request.name)
        except UsageError as error:
            raise RejectionError("name-invalid", f"{error.text}; {error.hint}") from None
        if not names.claim(name, key_hash, now, ends_at, route=route, http=http):
            raise RejectionError("name-taken", f"the name {name} belongs to somebody else")
        return name

    async def _converse(self, channel: WebSocket, share: Share) -> None:
        async with asyncio.TaskGroup() as group:
            reader = group.create_task(self._read(channel, share), name="control-read")
            writer = group.create_task(self._write(channel, share), name="control-write")
            await share.over.wait()
            reader.cancel()
            writer.cancel()
        with contextlib.suppress(asyncio.QueueEmpty, RuntimeError):
            while True:
                await _send(channel, share.outgoing.get_nowait())

    async def _read(self, channel: WebSocket, share: Share) -> None:
        try:
            while True:
                message = control.parse_from_share(await channel.receive_text())
                match message:
                    case control.Publish():
                        share.published = message
                    case control.Extend(expires_in=expires_in):
                        granted = min(expires_in, MAX_LEASE)
                        self._registry.extend(share, time.time() + granted)
                        share.send(control.Extended(granted))
                    case control.End():
                        self._names.end_lease(share.name, time.time())
                        return
                    case Register():
                        raise RemoteProtocolError("a second registration")
        except (WebSocketDisconnect, KeyError, RuntimeError):
            pass  # it left, or spoke binary
        except RemoteProtocolError as error:
            share.send(Ended("closed", error.text))
        finally:
            share.over.set()

    async def _write(self, channel: WebSocket, share: Share) -> None:
        try:
            while True:
                await _send(channel, await share.outgoing.get())
        except (WebSocketDisconnect, TimeoutError, RuntimeError):
            pass
        finally:
            share.over.set()


async def _send(channel: WebSocket, message: FromRelay) -> None:
    async with asyncio.timeout(SEND_WITHIN):
        await channel.send_text(control.serialize(message))
