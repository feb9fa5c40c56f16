"""Certificates of a public authority (ACME, RFC 8555), through certbot's client library.

The library is synchronous: its calls are made in threads that nobody waits for at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import requests
from acme import challenges, client, crypto_util, errors, messages
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from relay.certificate import make_key, parse_key
from tunnel.errors import VshareError

ASK_WITHIN = 15  # seconds for one request to the authority
VALIDATE_WITHIN = 120.0  # seconds for the authority to look, from several places, and to sign

KINDS = {"http-01": challenges.HTTP01, "dns-01": challenges.DNS01}
T = TypeVar("T")


class Proof(Protocol):
    """Shows the authority that a name is ours: puts a value where it looks."""

    kind: str  # of KINDS

    async def present(self, place: str, value: str) -> None:
        """Have `value` at `place` (a path at port 80, or a name for a TXT record) when this
        returns. Raises VshareError."""

    async def clear(self, place: str, value: str) -> None:
        """Take it away again. Raises VshareError."""


class Authority:
    """One account at one authority; `key` is the account's, PEM."""

    def __init__(self, directory: str, email: str, key: bytes) -> None:
        self._directory, self._email = directory, email
        self._key = JWKEC(key=parse_key(key))

    async def certify(self, names: list[str], proof: Proof) -> bytes:
        """A certificate for `names` with its chain and a fresh key (PEM). Raises VshareError."""
        try:
            return await self._certify(names, proof)
        except VshareError:
            raise
        except Exception as error:  # the library meets an answer with any of a dozen
            raise VshareError(
                f"no certificate from {self._directory}: {_reason(error)}",
                _hint(error, proof.kind),
            ) from error

    async def _certify(self, names: list[str], proof: Proof) -> bytes:
        authority = await _in_thread(self._log_in)
        key = make_key()
        request = crypto_util.make_csr(key, domains=names)
        order = await _in_thread(lambda: authority.new_order(request))
        placed: list[tuple[str, str]] = []
        try:
            asked = []
            for authorization in order.authorizations:
                if authorization.body.status == messages.STATUS_VALID:  # from a while ago
                    continue
                challenge = _challenge(authorization.body, proof.kind)
                name = authorization.body.identifier.value
                place, value = self._answer(challenge.chall, name)
                placed.append((place, value))
                await proof.present(place, value)
                asked.append(challenge)
            for each in asked:  # when all are in place: two of them are at one name
                answer = functools.partial(authority.answer_challenge, each)
                await _in_thread(functools.partial(answer, each.response(self._key)))
            wait = datetime.timedelta(seconds=VALIDATE_WITHIN)
            deadline = datetime.datetime.now() + wait  # the library's way
            done = await _in_thread(lambda: authority.poll_and_finalize(order, deadline))
        finally:
            for place, value in placed:
                with contextlib.suppress(VshareError):  # what is left there harms nobody
                    await proof.clear(place, value)
        return str(done.fullchain_pem).encode() + b"\n" + key

    def _log_in(self) -> client.ClientV2:
        """The account with this key, made if there is none."""
        net = client.ClientNetwork(self._key, alg=ES256, user_agent="vrelay", timeout=ASK_WITHIN)
        directory = client.ClientV2.get_directory(self._directory, net)
        authority = client.ClientV2(directory, net)
        wanted = messages.NewRegistration.from_data(email=self._email, terms_of_service_agreed=True)
        try:
            authority.new_account(wanted)
        except errors.ConflictError as conflict:
            net.account = messages.RegistrationResource(
                uri=conflict.location, body=messages.Registration()
            )
        return authority

    def _answer(self, challenge: Any, name: str) -> tuple[str, str]:
        value = str(challenge.validation(self._key))
        if isinstance(challenge, challenges.HTTP01):
            return str(challenge.path), value
        return f"{challenge.validation_domain_name(name)}.", value


def _challenge(authorization: messages.Authorization, kind: str) -> messages.ChallengeBody:
    for each in authorization.challenges:
        if isinstance(each.chall, KINDS[kind]):
            return each
    raise VshareError(
        f"the authority does not offer {kind} for {authorization.identifier.value}",
        "for *.DOMAIN there is only dns-01: --acme-dns-hook",
    )


async def _in_thread(work: Callable[[], T]) -> T:
    """What `work` returns. When it is cancelled it is left to itself, and ends with the process."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # it is T where there is no error

    def run() -> None:
        result, failure = None, None
        try:
            result = work()
        except Exception as error:  # for the caller
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=run, name="acme", daemon=True).start()
    return await future


def _reason(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, errors.ValidationError):
        told = [
            f"{each.body.identifier.value}: {challenge.error.detail}"
            for each in error.failed_authzrs
            for challenge in each.body.challenges
            if challenge.error is not None
        ]
        return "; ".join(told)
    if isinstance(error, errors.IssuanceError):
        return str(error.error.detail)
    if isinstance(error, messages.Error):
        return str(error.detail or error)
    if isinstance(error, errors.TimeoutError):
        return f"it was not done in {VALIDATE_WITHIN:g} seconds"
    if isinstance(error, requests.RequestException):
        cause = error.__cause__ or error.__context__ or error
        return f"it cannot be reached: {getattr(cause, 'reason', None) or cause}"
    return " ".join(f"{type(error).__name__}: {error}".split())


def _hint(error: Exception, kind: str) -> str:
    if not isinstance(error, errors.ValidationError):
        return "the relay goes on with the certificate that it has"
    if kind == "http-01":
        return (
            "the authority asks http://DOMAIN/ at port 80: the name has to lead here, and port 80"
            " to this relay (--listen HOST:80 besides the other)"
        )
    return "the authority looks for the TXT record that the program of --acme-dns-hook puts there"
