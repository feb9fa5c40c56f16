"""`vrelay user` and `vrelay token`: who may share by the relay of this state directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import platformdirs

from relay.accounts.book import Allowance, account_book
from relay.accounts.permits import SHARE
from relay.registry import MAX_SHARES
from relay.settings_file import said
from tunnel.command import print_table
from tunnel.console import Console
from tunnel.errors import UsageError
from tunnel.relay_token import parse_token

DAY = 86_400.0  # seconds
MAX_DAYS = 3_650  # ten years; without --expires it is for ever

Command = Callable[..., Any]


def state_directory(chosen: Path | None) -> Path:
    """The relay's, as `vrelay serve` has it: of flag, environment or file. Raises UsageError."""
    return chosen or said("state-dir") or platformdirs.user_state_path("vrelay", appauthor=False)


def _common(command: Command) -> Command:
    """The options that all of them have."""
    folder = click.option(
        "--state-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="The relay's, as `vrelay serve` has it.",
    )
    as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    return folder(as_json(command))


@click.group()
def user() -> None:
    """Who may share by this relay."""


@user.command("create")
@click.argument("name")
@_common
def create_user(name: str, state_dir: Path | None, as_json: bool) -> None:
    """Make a user, who has no token yet."""
    with account_book(state_directory(state_dir)) as book:
        book.create_user(name, time.time())
    console = Console("relay", as_json=as_json)
    console.event(user=name)
    console.step(f"There is a user {name} now; `vrelay token create --user {name}` is next.")


@user.command("list")
@_common
def list_users(state_dir: Path | None, as_json: bool) -> None:
    """Who there is."""
    with account_book(state_directory(state_dir)) as book:
        users = book.users()
    Console("relay", as_json=as_json).event(
        users=[{"name": u.name, "created_at": u.created_at, "tokens": u.tokens} for u in users]
    )
    if as_json:
        return
    if not users:
        click.echo("there are no users: `vrelay user create NAME` makes one", err=True)
    print_table(
        (each.name, f"since {_day(each.created_at)}", f"{each.tokens} token{_s(each.tokens)}")
        for each in users
    )


@user.command("remove")
@click.argument("name")
@_common
def remove_user(name: str, state_dir: Path | None, as_json: bool) -> None:
    """Remove a user and its tokens; the shares with them end."""
    with account_book(state_directory(state_dir)) as book:
        tokens = book.remove_user(name)
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
    type=click.Choice([SHARE]),
    default=SHARE,
    show_default=True,
    help="What it is good for.",
)
@click.option(
    "--expires",
    "days",
    type=click.IntRange(1, MAX_DAYS),
    metavar="DAYS",
    help="It ends then, and the shares with it [never].",
)
@click.option(
    "--shares",
    type=click.IntRange(1, MAX_SHARES),
    metavar="N",
    help="So many at once [as many as the relay takes].",
)
@click.option("--note", default="", metavar="TEXT", help="For `vrelay token list`.")
@_common
def create_token(
    owner: str,
    scope: str,
    days: int | None,
    shares: int | None,
    note: str,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Make a token, and show it, once: what is kept of it is a hash."""
    now = time.time()
    expires_at = None if days is None else now + days * DAY
    with account_book(state_directory(state_dir)) as book:
        made = book.create_token(owner, Allowance(scope, shares, expires_at, note), now)
    console = Console("relay", as_json=as_json)
    console.result(
        "Token:", made.text, token=made.text, id=made.id, user=owner, expires_at=expires_at
    )
    console.detail("It is not shown again. Whoever shares types it at: vshare login RELAY")


@token.command("list")
@_common
def list_tokens(state_dir: Path | None, as_json: bool) -> None:
    """Which there are, without what is secret of them."""
    with account_book(state_directory(state_dir)) as book:
        tokens = book.tokens()
    now = time.time()
    Console("relay", as_json=as_json).event(
        tokens=[
            {
                "id": each.id,
                "user": each.user,
                "scopes": each.scopes,
                "shares": each.shares,
                "note": each.note,
                "created_at": each.created_at,
                "expires_at": each.expires_at,
                "state": each.state(now),
            }
            for each in tokens
        ]
    )
    if as_json:
        return
    if not tokens:
        click.echo("there are no tokens: `vrelay token create --user NAME` makes one", err=True)
    print_table(
        (
            each.id,
            each.user,
            each.state(now),
            "no limit" if each.shares is None else f"{each.shares} share{_s(each.shares)}",
            "never ends" if each.expires_at is None else f"ends {_day(each.expires_at)}",
            each.note,
        )
        for each in tokens
    )


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@_common
def revoke_token(token_id: str, state_dir: Path | None, as_json: bool) -> None:
    """End a token, and the shares with it; a relay that runs knows within a second.

    Who has found a token somewhere may give it in place of its ID.
    """
    with suppress(UsageError):
        token_id = parse_token(token_id).id
    with account_book(state_directory(state_dir)) as book:
        changed = book.revoke_token(token_id, time.time())
    console = Console("relay", as_json=as_json)
    console.event(id=token_id, revoked=changed)
    console.step(f"The token {token_id} {'is' if changed else 'was'} revoked.")


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _day(at: float) -> str:
    """In UTC, as an operator's logs have it."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


COMMANDS: tuple[click.Command, ...] = (user, token)
