"""`vshare login` and `vshare logout`: the tokens of relays that want one from who shares there."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import click

from tunnel.address import RelayAddress, parse_relay
from tunnel.console import Console, Interrupt, run
from tunnel.errors import UsageError
from tunnel.prompt import ask_hidden
from tunnel.relay_token import MAX_TOKEN, RelayToken, parse_token
from vshare.relay_tokens import forget_token, read_token, store_token, stored_token

OTHERWISE = "pipe the token in, or name a file with it: --token-file FILE"


@click.command()
@click.argument("relay", required=False)
@click.option("--token-file", type=click.Path(path_type=Path), help="read the token from a file")
def login(relay: str | None, token_file: Path | None) -> None:
    """Store the token that RELAY [or $VSHARE_RELAY] wants from who shares there.

    It is asked for, or comes by a pipe. It is kept in your keyring, or in a file that you alone
    can read, and shown to no relay but the one at exactly that address.
    """
    address = _address(relay)
    console = Console("vshare")
    if token_file is not None:
        token = read_token(token_file)
    elif sys.stdin.isatty():
        token = _asked(address, console)
    else:
        token = parse_token(sys.stdin.buffer.read(2 * MAX_TOKEN).decode("ascii", "replace"))
    store_token(address, token)
    console.step(f"The token {token.id} is stored: `vshare up` shows it to {address}.")


@click.command()
@click.argument("relay", required=False)
def logout(relay: str | None) -> None:
    """Forget the token for RELAY [or $VSHARE_RELAY]; shares that run go on."""
    address = _address(relay)
    was_there = forget_token(address)
    said = "is forgotten" if was_there else "was not there: nothing is stored for it"
    Console("vshare").step(f"The token for {address} {said}.")


def warn_of_missing_token(console: Console, relay: str) -> None:
    """Say so if `relay` asks for a token, and none is stored. Raises VshareError."""
    from vshare.relay_channel import wants_token  # what it needs takes others a while to load

    address = parse_relay(relay)
    if stored_token(address) is None and asyncio.run(wants_token(address)):
        console.warn(f"{address} asks for a token, and none is stored: it will refuse the share")
        console.detail(f"Ask whoever runs it for one, then: vshare login {address}")


def _address(relay: str | None) -> RelayAddress:
    named = relay or os.environ.get("VSHARE_RELAY")
    if not named:
        raise UsageError("no relay is named", "say which: `vshare login HOST:PORT#PIN`")
    return parse_relay(named)


def _asked(address: RelayAddress, console: Console) -> RelayToken:
    typed: list[str] = []

    async def work(_: Interrupt) -> None:
        typed.append(await ask_hidden(f"Token for {address}: ", OTHERWISE))

    code = run(console, work)
    if code:
        sys.exit(code)
    return parse_token(typed[0])


COMMANDS: tuple[click.Command, ...] = (login, logout)
