"""Makes the rules that keep visitors out, from what the command line says."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunnel.errors import UsageError
from tunnel.prompt import ask_hidden
from vshare.news import Newsroom
from vshare.web import interstitial, passcode
from vshare.web.access import Addresses, BasicAuth, Network
from vshare.web.cookies import Cookies
from vshare.web.guessing import Guessing
from vshare.web.interstitial import Interstitial, about
from vshare.web.passcode import Passcode, check_passcode, make_passcode
from vshare.web.rules import Rule
from vshare.web.tickets import Tickets
from vshare.web.tries import Tries

KEY = 32  # bytes
TICKET = 16  # bytes
MIN_PASSWORD = 8  # characters: tries are limited, but the URL is public
MAX_PASSWORD = 256  # characters; more is a file given by mistake
MAX_USER = 64  # characters
MAX_SHARER = 80  # characters: it is a heading
_WORD = "addresses are the relay's word"
WITHOUT_TERMINAL = "name a file that holds USER:PASSWORD with --http-auth-file FILE"


@dataclass(frozen=True, slots=True)
class AccessOptions:
    """`--allow`, `--deny`, `--http-auth`, `--http-passcode`, `--interstitial`."""

    allow: tuple[Network, ...] = ()
    deny: tuple[Network, ...] = ()
    user: str | None = None  # whose password is asked for
    auth_file: Path | None = None
    passcode: bool = False  # make one
    passcode_file: Path | None = None
    sharer: str | None = None  # who shares it, for the first page; None: no such page

    def check(self) -> None:
        """Raise UsageError for what cannot be meant, and for files that cannot be used."""
        if self.user is not None and self.auth_file is not None:
            raise UsageError(
                "--http-auth and --http-auth-file contradict each other", "leave one out"
            )
        if self.passcode and self.passcode_file is not None:
            raise UsageError(
                "--http-passcode makes a passcode, --http-passcode-file has one", "leave one out"
            )
        if self.auth_file is not None:
            _read_credentials(self.auth_file)
        if self.passcode_file is not None:
            read_passcode(self.passcode_file)


@dataclass(frozen=True, slots=True)
class Access:
    """The rules in their order: the first ones to be asked. `lines`: what the sharer is told, but
    for the passcode, which is to be told to people."""

    rules: Sequence[Rule] = ()
    lines: Sequence[str] = ()
    passcode: str | None = field(default=None, repr=False)
    interstitial: Interstitial | None = None
    tickets: Tickets | None = None  # past the passcode, if there is one
    sentences: list[str] = field(default_factory=list)  # what the first page says


def parse_network(text: str) -> Network:
    """A network of `--allow` and `--deny`, or one address. Raises UsageError."""
    try:
        if "%" in text:
            raise ValueError
        return ipaddress.ip_network(text)
    except ValueError:
        raise UsageError(
            f"not a network: {text!r}",
            "write 203.0.113.0/24, 2001:db8::/32, or one address; no bits behind the prefix",
        ) from None


def parse_user(text: str) -> str:
    """The user of `--http-auth`. Raises UsageError, without a password that was given with it."""
    user, colon, _ = text.partition(":")
    if colon:
        raise UsageError(
            "--http-auth takes the user alone: the command line is seen by others",
            f"the password is asked for; or {WITHOUT_TERMINAL}",
        )
    if not 0 < len(user) <= MAX_USER or not user.isprintable():
        raise UsageError(f"not a user's name: {user[:MAX_USER]!r}", "write letters and digits")
    return user


def parse_sharer(text: str) -> str:
    """Who shares, for the first page. Raises UsageError."""
    sharer = text.strip()
    if not 0 < len(sharer) <= MAX_SHARER or not sharer.isprintable():
        raise UsageError(
            f"not the words for the first page: {sharer[:MAX_SHARER]!r}",
            f"write who shares the site, in 1 to {MAX_SHARER} characters",
        )
    return sharer


async def make_access(
    options: AccessOptions,
    name: str,
    machine: str,
    newsroom: Newsroom,
    *,
    clock: Callable[[], float] = time.time,
    ticks: Callable[[], float] = time.monotonic,
) -> Access:
    """For the share `name` of `machine`; asks for a password, if need be. Raises UsageError.
    `newsroom` is told of who guesses.

    One key and one limit of tries for all sites of the share.
    """
    rules: list[Rule] = []
    key, tries = secrets.token_bytes(KEY), Tries(ticks, Guessing(newsroom))
    if options.allow or options.deny:
        rules.append(Addresses(options.allow, options.deny))
    credentials = await _credentials(options)
    if credentials is not None:
        rules.append(BasicAuth(*credentials, name, tries))
    sentences = about(options.sharer, machine, name) if options.sharer else []
    code, tickets = _passcode(options), None
    if code is not None:
        tickets = Tickets(lambda: secrets.token_urlsafe(TICKET), ticks)
        cookies = Cookies(passcode.COOKIE, _derive(key, f"passcode {code}"), clock)
        rules.append(Passcode(code, cookies, tries, sentences, tickets))
    first: Interstitial | None = None
    if options.sharer and code is None:  # the passcode's page says it already
        cookies = Cookies(interstitial.COOKIE, _derive(key, "seen"), clock)
        first = Interstitial(options.sharer, sentences, key, cookies)
        rules.append(first)
    user = credentials[0] if credentials is not None else None
    return Access(tuple(rules), tuple(_lines(options, user)), code, first, tickets, sentences)


def rename_on_pages(access: Access, options: AccessOptions, name: str, machine: str) -> None:
    """The first page calls the share `name` from now on."""
    if options.sharer:
        access.sentences[:] = about(options.sharer, machine, name)


def _lines(options: AccessOptions, user: str | None) -> Iterator[str]:
    if options.allow:
        yield f"Visitors may come from {_listed(options.allow)} ({_WORD})"
    if options.deny:
        yield f"Visitors may not come from {_listed(options.deny)} ({_WORD})"
    if user is not None:
        yield f"Visitors log in as {user}"
    if options.sharer:
        yield f"Browsers are told first that {options.sharer} shares the site"


def _listed(networks: Sequence[Network]) -> str:
    return ", ".join(
        str(each.network_address if each.num_addresses == 1 else each) for each in networks
    )


async def _credentials(options: AccessOptions) -> tuple[str, str] | None:
    if options.auth_file is not None:
        return _read_credentials(options.auth_file)
    if options.user is None:
        return None
    prompt = f"Password for visitors who log in as {options.user}: "
    return options.user, _check_password(await ask_hidden(prompt, WITHOUT_TERMINAL))


def _passcode(options: AccessOptions) -> str | None:
    if options.passcode_file is not None:
        return read_passcode(options.passcode_file)
    return make_passcode(secrets.randbelow) if options.passcode else None


def read_passcode(path: Path) -> str:
    """The passcode that a file holds. Raises UsageError."""
    return check_passcode(_read(path, "the passcode"))


def _read_credentials(path: Path) -> tuple[str, str]:
    user, colon, password = _read(path, "user and password").partition(":")
    if not colon:
        raise UsageError(f"{path} does not hold USER:PASSWORD", "write both on one line")
    return parse_user(user), _check_password(password)


def _check_password(password: str) -> str:
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD or not password.isprintable():
        raise UsageError(
            f"a password for visitors has {MIN_PASSWORD} to {MAX_PASSWORD} printable characters",
            "choose another",
        )
    return password


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as file:
            return file.read(4 * (MAX_USER + MAX_PASSWORD)).decode("utf-8").strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read {what} from {path}: {reason}", "name a file") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not text in UTF-8", "write it with an editor") from None


def _derive(key: bytes, purpose: str) -> bytes:
    return hmac.digest(key, purpose.encode(), hashlib.sha256)
