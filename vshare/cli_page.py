"""`vshare page`: the guest page of a share that runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from tunnel.console import Console, Interrupt, run
from tunnel.errors import UsageError
from tunnel.prompt import ask_hidden
from tunnel.running import Running
from vshare.cli_running import of_a_share
from vshare.guest_page import requests
from vshare.running import choose_share
from vshare.web.access_setup import read_passcode
from vshare.web.passcode import check_passcode

WITHOUT_TERMINAL = "name a file that holds it with --passcode-file FILE"


@click.command()
@click.option("--rotate", is_flag=True, help="draw a new passcode; the old one is void")
@click.option("--passcode", "asks", is_flag=True, help="type a new passcode, which is asked for")
@click.option(
    "--passcode-file",
    "file",
    type=click.Path(path_type=Path),
    help="read the new passcode from a file",
)
@click.option("--keep", is_flag=True, help="with a new one: who is in by the old one stays")
@click.option("--off", is_flag=True, help="close the page, and put out who is in")
@click.option("--on", is_flag=True, help="open it again")
@of_a_share
def page(
    rotate: bool,
    asks: bool,
    file: Path | None,
    keep: bool,
    off: bool,
    on: bool,
    share: str | None,
    as_json: bool,
) -> None:
    """Show the guest page's address and passcode; change the passcode; close the page."""
    if sum((rotate, asks, file is not None)) > 1:
        raise UsageError(
            "--rotate, --passcode and --passcode-file contradict each other", "leave all but one"
        )
    if off and on:
        raise UsageError("--on and --off contradict each other", "leave one out")
    changes = rotate or asks or file is not None
    if keep and not changes:
        raise UsageError("--keep is for a new passcode", "add --rotate, or leave it out")
    chosen = choose_share(share)
    passcode = read_passcode(file) if file is not None else "" if rotate else None
    is_open = True if on else False if off else None
    if asks:
        console = Console("page", as_json=as_json)

        async def ask(interrupt: Interrupt) -> None:
            typed = check_passcode(await ask_hidden("New passcode: ", WITHOUT_TERMINAL))
            _change(chosen, requests.ChangePage(typed, keep, is_open), as_json=as_json)

        sys.exit(run(console, ask))
    _change(chosen, requests.ChangePage(passcode, keep, is_open), as_json=as_json)


def _change(share: Running, request: requests.ChangePage, *, as_json: bool) -> None:
    if request == requests.ChangePage():
        done = share.ask(requests.GuestPage(), requests.PageState)
    else:
        done = share.ask(request, requests.PageState)
    console = Console(share.name, as_json=as_json)
    console.event(share=share.name, **msgspec.to_builtins(done))
    if as_json:
        return
    console.result("Guest page:", done.url)
    if not done.is_open:
        console.step(f"It is closed{_out(done)}; `vshare page --on` opens it again.")
        return
    console.result("Its passcode:", done.passcode)
    if request.passcode is not None:
        stays = "Who is in stays" if request.keep else f"The old one is void{_out(done)}"
        console.step(f"{stays}.")
    console.step(f"{done.here} of {done.visitors} who are in by it are there now.")


def _out(done: requests.PageState) -> str:
    if not done.out:
        return ""
    return f"; {done.out} {'visitor is' if done.out == 1 else 'visitors are'} out"


COMMANDS: tuple[click.Command, ...] = (page,)
