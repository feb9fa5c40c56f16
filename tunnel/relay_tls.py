"""TLS to a relay, always verified: as browsers do, or pinned (docs/protocol.md 1).

A pinned certificate is fetched, compared with the fingerprint in the relay's address, and
loaded as the only trust anchor of the connections that follow.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import ssl

from tunnel.address import RelayAddress, without_zone
from tunnel.bio_tls import BioTls
from tunnel.codes import Code
from tunnel.dialler import LastGood, dial
from tunnel.errors import LostError, RefusedError, VshareError
from tunnel.identity import fingerprint
from tunnel.proxy import ProxyError
from tunnel.proxy_way import is_literal, way_to

CONNECT_DEADLINE = 10.0  # seconds to resolve and reach a relay, through a proxy if need be
_LAST_GOOD = LastGood()


class RelayError(VshareError):
    """The relay cannot be reached, or is not the one that its address names."""


async def dial_relay(relay: RelayAddress, deadline: float = CONNECT_DEADLINE) -> socket.socket:
    """A connected, non-blocking socket to `relay`; the caller closes it.

    It goes through the proxy that the environment names, if any (docs/protocol.md 2). Raises
    RelayError, UsageError for variables that name no proxy.
    """
    proxy = way_to(relay.host, os.environ)
    try:
        if proxy is not None:
            from tunnel.proxy_dial import dial_through  # 0.1 s that others need not wait

            return await dial_through(proxy, relay.host, relay.port, deadline)
        return await dial(relay.host, relay.port, deadline, _LAST_GOOD)
    except ProxyError as error:
        raise RelayError(
            f"the relay {relay} cannot be reached: {error.text}", error.hint
        ) from error
    except RefusedError as error:
        hint = (
            "check the relay's address and that this machine can reach it: `vshare doctor`, or"
            " `vconnect doctor NAME@RELAY`, says how far it gets"
        )
        if error.code is Code.CONNECTION_REFUSED:
            hint = "nothing listens there: is `vrelay serve` running, on that port?"
        raise RelayError(f"the relay {relay} cannot be reached: {error.text}", hint) from error


def server_hostname(relay: RelayAddress) -> str | None:
    """What to send as SNI: the relay's name, nothing for an address (RFC 6066 3)."""
    if not is_literal(without_zone(relay.host)):
        return relay.host
    return None if relay.fingerprint else without_zone(relay.host)


async def relay_context(relay: RelayAddress, *protocols: str) -> ssl.SSLContext:
    """A client context that accepts `relay` alone and offers `protocols` (ALPN).

    Raises RelayError.
    """
    return context_for(await anchor_of(relay), *protocols)


async def anchor_of(relay: RelayAddress) -> bytes | None:
    """The certificate (DER) that `relay`'s address pins, fetched from it and compared.

    None for a relay that is verified publicly. Raises RelayError.
    """
    if relay.fingerprint is None:
        return None
    certificate = await fetch_certificate(relay)
    if not matches(certificate, relay.fingerprint):
        raise RelayError(
            f"the relay at {relay.host}:{relay.port} shows a certificate other than its address"
            f" names: expected {relay.fingerprint[:32]}, got {fingerprint(certificate)[:32]}",
            "take the address from `vrelay serve` again; if it did not change,"
            " somebody is in between",
        )
    return certificate


def context_for(anchor: bytes | None, *protocols: str) -> ssl.SSLContext:
    """A client context that trusts `anchor` (DER) alone, or public authorities if it is None."""
    if anchor is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the one certificate is the identity, whatever it says
        context.load_verify_locations(cadata=ssl.DER_cert_to_PEM_cert(anchor))
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a leaf may be the anchor
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def looking_context() -> ssl.SSLContext:
    """A client context for looking at a certificate, which it does not verify: nothing may be sent
    over it, and its user compares what was shown, or wants nothing but to be refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def matches(certificate: bytes, pin: str) -> bool:
    """Whether `certificate` (DER) has the fingerprint that begins with `pin`."""
    return hmac.compare_digest(fingerprint(certificate)[: len(pin)], pin.lower())


async def fetch_certificate(relay: RelayAddress) -> bytes:
    """The certificate (DER) that `relay` shows; nothing is sent to it. Raises RelayError."""
    sock = await dial_relay(relay)
    with sock:
        tls = BioTls(sock, looking_context(), server_hostname=server_hostname(relay))
        await handshake(tls, relay)
        return tls.peer_certificate


async def handshake(tls: BioTls, relay: RelayAddress) -> None:
    """TLS handshake with a relay; what goes wrong becomes a RelayError."""
    try:
        async with asyncio.timeout(CONNECT_DEADLINE):
            await tls.handshake()
    except ssl.SSLCertVerificationError as error:
        raise RelayError(
            f"the certificate of the relay {relay} is not valid: {error.verify_message}",
            "for a relay with a self-made certificate, give its address with the #fingerprint"
            " that `vrelay serve` prints",
        ) from error
    except (ssl.SSLError, LostError, TimeoutError) as error:
        raise RelayError(
            f"the relay {relay} does not answer in TLS: {error or 'no answer'}",
            "check host and port: this may be another service",
        ) from error
