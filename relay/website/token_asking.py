"""What the pages of relays that are one ask each other about tokens, and answer. Pure.

Who asks names the token with which somebody has signed in there; who answers looks up itself what
that is good for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, TypeAlias

import msgspec

from relay.accounts.book import TokenEntry
from relay.accounts.limits import Limits
from tunnel.errors import RemoteProtocolError, UsageError
from tunnel.relay_token import RelayToken, parse_token

MAX_LISTED = 1_000  # tokens in an answer: a megabyte at most, with long labels
MAX_FIELD = 300  # characters of a field of the form
MAX_TEXT = 1_000  # characters of anything else
FIELDS = (
    "note", "shares", "guests", "streams", "bytes_per_day", "bandwidth", "days", "pages",
)  # fmt: skip

_Id: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"^[a-z2-7]{8}\Z")]
_Field: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_FIELD)]
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
_Time: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1e11)]  # more is no date
_Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=10**18)] | None


class ListAsked(msgspec.Struct, frozen=True, tag="list", forbid_unknown_fields=True):
    """Which tokens does he see who signed in with `token`?"""

    token: _Id


class MakeAsked(msgspec.Struct, frozen=True, tag="make", forbid_unknown_fields=True):
    """A new one, please, as that form says."""

    token: _Id
    form: Annotated[dict[_Field, _Field], msgspec.Meta(max_length=len(FIELDS))]


class Row(msgspec.Struct, frozen=True, array_like=True):
    """See TokenEntry."""

    id: _Id
    user: _Text
    scopes: _Text
    limits: tuple[_Limit, _Limit, _Limit, _Limit, _Limit]
    note: _Text
    created_at: _Time
    expires_at: _Time | None
    revoked_at: _Time | None


class Listed(msgspec.Struct, frozen=True, tag="listed"):
    """These."""

    rows: Annotated[list[Row], msgspec.Meta(max_length=MAX_LISTED)]


class Made(msgspec.Struct, frozen=True, tag="made"):
    """It is made: `text` is its own, for who asked alone."""

    text: _Text

    def __repr__(self) -> str:
        return "Made()"


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It is not, and why not; `is_wish`: because of what was asked for."""

    text: _Text
    is_wish: bool


Asked: TypeAlias = ListAsked | MakeAsked
Told: TypeAlias = Listed | Made | Refused
_asked: msgspec.json.Decoder[Asked] = msgspec.json.Decoder(Asked)
_told: msgspec.json.Decoder[Told] = msgspec.json.Decoder(Told)
serialize = msgspec.json.Encoder().encode


def parse_asked(text: bytes) -> Asked:
    """A question. Raises RemoteProtocolError."""
    try:
        return _asked.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise RemoteProtocolError(f"a question about tokens that is none: {error}") from None


def parse_told(text: bytes) -> Told:
    """An answer. Raises RemoteProtocolError, which shows nothing of it."""
    try:
        return _told.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise RemoteProtocolError("an answer about tokens that is none") from None


def token_in(made: Made) -> RelayToken:
    """The new one. Raises RemoteProtocolError."""
    try:
        return parse_token(made.text)
    except UsageError:
        raise RemoteProtocolError("a new token that is none") from None


def listed(entries: Iterable[TokenEntry]) -> Listed:
    """As many as go into an answer."""
    rows = [
        Row(
            each.id,
            each.user,
            each.scopes[:MAX_TEXT],
            tuple(each.limits.values()),  # type: ignore[arg-type]  # there are five
            each.note,
            each.created_at,
            each.expires_at,
            each.revoked_at,
        )
        for each in list(entries)[:MAX_LISTED]
    ]
    return Listed(rows)


def entries_in(told: Listed) -> list[TokenEntry]:
    """What was listed."""
    return [
        TokenEntry(
            row.id,
            row.user,
            row.scopes,
            Limits(*row.limits),
            row.note,
            row.created_at,
            row.expires_at,
            row.revoked_at,
        )
        for row in told.rows
    ]
