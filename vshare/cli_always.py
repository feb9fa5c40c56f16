"""The commands for shares that go on by themselves: which run, whether they answer, their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import sys
import time
from typing import NoReturn

import click
import msgspec

from tunnel.address import parse_relay
from tunnel.command import print_table
from tunnel.console import Console, run
from tunnel.errors import UsageError, VshareError
from tunnel.running import Running
from vshare import requests
from vshare.attach import attach as attach_to
from vshare.cli_running import since
from vshare.durations import parse_patience
from vshare.running import SHARES, choose_share, running_shares

WAIT_FOR = 60.0  # seconds; a machine that boots meanwhile takes longer, and has --timeout
LOOK_EVERY = 0.2  # seconds
END_WITHIN = 20.0  # seconds; a key is taken out of the machine, and the guests are told


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
def list_shares(as_json: bool) -> None:
    """Which shares run on this host, and who is there."""
    states = [state for _, state in _states()]
    if as_json:
        print(json.dumps({"shares": msgspec.to_builtins(states)}))
        return
    if not states:
        click.echo("no share runs here")
    print_table(
        (
            state.name,
            state.machine,
            since(state.since),
            f"{state.guests} guest{'' if state.guests == 1 else 's'}",
            state.url or "no URL",
        )
        for state in states
    )


def _states() -> list[tuple[Running, requests.ShareState]]:
    """Of every share that answers."""
    found = []
    for share in running_shares():
        with contextlib.suppress(VshareError):  # it ends just now
            found.append((share, share.ask(requests.Status(), requests.ShareState)))
    return found


@click.command()
@click.argument("name", required=False)
@click.option(
    "--timeout",
    "within",
    type=parse_patience,
    metavar="TIME",
    default=WAIT_FOR,
    help="give up after that [60s]",
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object on stdout")
def wait(name: str | None, within: float, as_json: bool) -> None:
    """Wait until a share is there and its URL, if it has one, answers."""
    wanted = SHARES.parse(name) if name is not None else None
    state = asyncio.run(_wait(wanted, time.monotonic() + within))
    console = Console(state.name, as_json=as_json)
    text = "answers" if state.url else "is there; it has no URL"
    console.step(f"The share {text}.")
    console.result(
        "URL:" if state.url else "Others connect with:",
        state.url or f"vconnect {state.connect}",
        event="answers",
        **msgspec.to_builtins(state),
    )


async def _wait(wanted: str | None, until: float) -> requests.ShareState:
    """Raises VshareError that says what was missing to the last."""
    from vshare.url_wait import url_answers  # what it needs takes others a while to load

    missing = "no share runs here" if wanted is None else f"no share {wanted!r} runs here"
    while True:
        states = await asyncio.to_thread(_states)
        found = [state for _, state in states if wanted is None or state.name == wanted]
        if len(found) > 1:
            names = ", ".join(state.name for state in found)
            raise UsageError(f"{len(found)} shares run: {names}", "say which: `vshare wait NAME`")
        for state in found:
            if not state.url or await url_answers(parse_relay(state.relay), state.url):
                return state
            missing = f"{state.url} does not answer"
        if time.monotonic() >= until:
            raise VshareError(
                f"waited in vain: {missing}",
                "`vshare list` shows what runs; --timeout TIME waits longer",
            )
        await asyncio.sleep(LOOK_EVERY)


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
def attach(name: str | None, as_json: bool) -> NoReturn:
    """Look at a share that runs, until Ctrl-C, which does not end it."""
    share = _chosen(name)
    console = Console(share.name, as_json=as_json)
    sys.exit(run(console, lambda interrupt: attach_to(share, console, interrupt)))


@click.command()
@click.argument("name", required=False)
@click.option("--share", metavar="NAME", help="the same as NAME")
@click.option("--all", "every", is_flag=True, help="all shares of yours on this host")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per share on stdout")
def stop(name: str | None, share: str | None, every: bool, as_json: bool) -> None:
    """End a share, as Ctrl-C does in its terminal, and wait until it has ended."""
    if sum((name is not None, share is not None, every)) > 1:
        raise UsageError("more than one way of saying which", "give NAME, or --all")
    chosen = running_shares() if every else [_chosen(name or share)]
    states = [(one, one.ask(requests.Status(), requests.ShareState)) for one in chosen]
    for one, _ in states:
        one.ask(requests.Stop(), requests.Stopped)
    until = time.monotonic() + END_WITHIN
    for one, state in states:
        ended = _has_ended(one, state.process, until)
        console = Console(one.name, as_json=as_json)
        console.event(share=one.name, ended=ended)
        console.step("The share has ended." if ended else "The share ends.")
    if every and not states:
        click.echo("no share runs here", err=True)


def _chosen(name: str | None) -> Running:
    try:
        return choose_share(name)
    except UsageError as error:
        raise UsageError(error.text, error.hint.replace("--share NAME", "NAME")) from None


def _has_ended(share: Running, process: int, until: float) -> bool:
    """Wait for the end of its process, which has cleaned up then; of one that has other shares,
    for the end of its socket."""
    if not process:
        return False  # of an earlier version, which does not tell
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        return True  # it was quick
    try:
        while time.monotonic() < until:
            if select.select([descriptor], [], [], LOOK_EVERY)[0]:
                return True
            if not share.path.exists() and _shares_of(process):
                return True
    finally:
        os.close(descriptor)
    return False


def _shares_of(process: int) -> bool:
    return any(state.process == process for _, state in _states())


COMMANDS: tuple[click.Command, ...] = (list_shares, wait, attach, stop)
