"""`vrelay user` and `vrelay token`: who may share by a relay, and how much."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import click

from relay.accounts.book import Allowance, account_book
from relay.accounts.common_options import common, state_directory
from relay.accounts.limit_options import changed, limit_options, limits_json, limits_text
from relay.accounts.limits import UNLIMITED, size_text
from relay.accounts.orders_cli import ORDERS
from relay.accounts.permits import NAMES, SCOPES, SHARE
from tunnel.command import print_table
from tunnel.console import Console
from tunnel.errors import UsageError
from tunnel.relay_token import parse_token

DAY = 86_400.0  # seconds
MAX_DAYS = 3_650  # ten years; without --expires it is for ever


@click.group()
def user() -> None:
    """Who may share by this relay."""


@user.command("create")
@click.argument("name")
@limit_options
@common
def create_user(name: str, state_dir: Path | None, as_json: bool, **said: int | None) -> None:
    """Make a user, who has no token yet. Limits are of all its tokens together."""
    with account_book(state_directory(state_dir)) as book:
        book.create_user(name, time.time())
        book.limit_user(name, lambda limits: changed(limits, said))
    console = Console("relay", as_json=as_json)
    console.event(user=name)
    console.step(f"There is a user {name} now; `vrelay token create --user {name}` is next.")


@user.command("set")
@click.argument("name")
@limit_options
@common
def set_user(name: str, state_dir: Path | None, as_json: bool, **said: int | None) -> None:
    """Change what all tokens of a user may have together; a relay that runs knows in a second."""
    with account_book(state_directory(state_dir)) as book:
        limits = book.limit_user(name, lambda before: changed(before, said))
    console = Console("relay", as_json=as_json)
    console.event(user=name, limits=limits_json(limits))
    console.step(f"The user {name} has these limits: {limits_text(limits) or 'none'}.")


@user.command("list")
@common
def list_users(state_dir: Path | None, as_json: bool) -> None:
    """Who there is."""
    with account_book(state_directory(state_dir)) as book:
        users, used = book.users(), book.used(int(time.time() // DAY))
    Console("relay", as_json=as_json).event(
        users=[
            {
                "name": u.name,
                "created_at": u.created_at,
                "tokens": u.tokens,
                "limits": limits_json(u.limits),
                "bytes_today": used.get(f"user:{u.id}", 0),
            }
            for u in users
        ]
    )
    if as_json:
        return
    if not users:
        click.echo("there are no users: `vrelay user create NAME` makes one", err=True)
    print_table(
        (
            each.name,
            f"since {_day(each.created_at)}",
            f"{each.tokens} token{_s(each.tokens)}",
            f"{size_text(used.get(f'user:{each.id}', 0))} today",
            limits_text(each.limits),
        )
        for each in users
    )


@user.command("remove")
@click.argument("name")
@common
def remove_user(name: str, state_dir: Path | None, as_json: bool) -> None:
    """Remove a user and its tokens; the shares with them end."""
    with account_book(state_directory(state_dir)) as book:
        tokens = book.remove_user(name, time.time())
    console = Console("relay", as_json=as_json)
    console.event(user=name, tokens=tokens)
    console.step(f"The user {name} is gone, with {tokens} token{_s(tokens)}; their shares end.")


@click.group()
def token() -> None:
    """What shares show, to be taken by this relay."""


@token.command("create")
@click.option("--user", "owner", required=True, metavar="NAME", help="Whose it is.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=(SHARE,),
    show_default=True,
    metavar="WORD",
    help=f"What it is good for: {', '.join(SCOPES)}; {NAMES}BEGINNING: names that begin so."
    " May be given again.",
)
@click.option(
    "--expires",
    "days",
    type=click.IntRange(1, MAX_DAYS),
    metavar="DAYS",
    help="It ends then, and the shares with it [never].",
)
@limit_options
@click.option("--note", default="", metavar="TEXT", help="For `vrelay token list`.")
@common
def create_token(
    owner: str,
    scopes: tuple[str, ...],
    days: int | None,
    note: str,
    state_dir: Path | None,
    as_json: bool,
    **said: int | None,
) -> None:
    """Make a token, and show it, once: what is kept of it is a hash."""
    now = time.time()
    expires_at = None if days is None else now + days * DAY
    with account_book(state_directory(state_dir)) as book:
        allowance = Allowance(" ".join(scopes), changed(UNLIMITED, said), expires_at, note)
        made = book.create_token(owner, allowance, now)
    console = Console("relay", as_json=as_json)
    console.result(
        "Token:", made.text, token=made.text, id=made.id, user=owner, expires_at=expires_at
    )
    console.detail("It is not shown again. Whoever shares types it at: vshare login RELAY")


@token.command("list")
@common
def list_tokens(state_dir: Path | None, as_json: bool) -> None:
    """Which there are, without what is secret of them."""
    with account_book(state_directory(state_dir)) as book:
        tokens, used = book.tokens(), book.used(int(time.time() // DAY))
        elsewhere = book.revoked_elsewhere()
    now = time.time()
    Console("relay", as_json=as_json).event(
        tokens=[
            {
                "id": each.id,
                "user": each.user,
                "scopes": each.scopes,
                **limits_json(each.limits),
                "bytes_today": used.get(f"token:{each.id}", 0),
                "note": each.note,
                "created_at": each.created_at,
                "expires_at": each.expires_at,
                "state": each.state(now),
            }
            for each in tokens
        ],
        revoked_elsewhere=[{"id": token, "revoked_at": at} for token, at in elsewhere],
    )
    if as_json:
        return
    if not tokens and not elsewhere:
        click.echo("there are no tokens: `vrelay token create --user NAME` makes one", err=True)
    print_table(
        (
            each.id,
            each.user,
            each.state(now),
            each.scopes,
            "never ends" if each.expires_at is None else f"ends {_day(each.expires_at)}",
            f"{size_text(used.get(f'token:{each.id}', 0))} today",
            limits_text(each.limits) or "no limit of its own",
            each.note,
        )
        for each in tokens
    )
    print_table((token, "another relay's, or gone", "revoked") for token, _ in elsewhere)


@token.command("set")
@click.argument("token_id", metavar="ID")
@click.option(
    "--scope", "scopes", multiple=True, metavar="WORD", help="As of `create`: in place of all."
)
@limit_options
@common
def set_token(
    token_id: str,
    scopes: tuple[str, ...],
    state_dir: Path | None,
    as_json: bool,
    **said: int | None,
) -> None:
    """Change what a token is for while it is in use; a relay that runs knows within a second."""
    with account_book(state_directory(state_dir)) as book:
        entry = book.change_token(token_id, lambda before: changed(before, said), " ".join(scopes))
    console = Console("relay", as_json=as_json)
    console.event(id=entry.id, scopes=entry.scopes, limits=limits_json(entry.limits))
    text = limits_text(entry.limits) or "no limit of its own"
    console.step(f"The token {entry.id} is for: {entry.scopes}; {text}.")


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@click.option(
    "--everywhere", is_flag=True, help="Also if another relay of the cluster made it, or is away."
)
@common
def revoke_token(token_id: str, everywhere: bool, state_dir: Path | None, as_json: bool) -> None:
    """End a token, and the shares with it; a relay that runs knows within a second.

    Who has found a token somewhere may give it in place of its ID. Relays of a cluster tell each
    other of tokens that are revoked, and keep that.
    """
    with suppress(UsageError):
        token_id = parse_token(token_id).id
    with account_book(state_directory(state_dir)) as book:
        revoke = book.revoke_everywhere if everywhere else book.revoke_token
        changed = revoke(token_id, time.time())
    console = Console("relay", as_json=as_json)
    console.event(id=token_id, revoked=changed)
    console.step(f"The token {token_id} {'is' if changed else 'was'} revoked.")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _day(at: float) -> str:
    """In UTC, as an operator's logs have it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


__all__ = ["COMMANDS", "state_directory"]

COMMANDS: tuple[click.Command, ...] = (user, token, *ORDERS)
