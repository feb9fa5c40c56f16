"""`vshare terminal`: share a terminal of the machine, look at one, say who may type."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import click
import msgspec

from tunnel.command import print_table
from tunnel.console import Console, Interrupt, run
from tunnel.errors import UsageError
from tunnel.requests import Result
from tunnel.running import Running
from vshare.cli_running import of_a_share
from vshare.running import choose_share
from vshare.terminals import requests
from vshare.terminals.requests import OneTerminal, TerminalList, TerminalRow, ViewerRow

USUAL_NAME = "shell"
USUAL = (80, 24)  # of a terminal that does not say how large it is
GRANT, REVOKE, END = "grant", "revoke", "end"


@click.command()
@click.argument("words", nargs=-1, metavar="[NAME | grant GUEST | revoke GUEST | end]")
@click.option("--read-write", is_flag=True, help="guests type, too [they look on]")
@click.option("--read-only", is_flag=True, help="guests look on; you can grant typing to one")
@click.option("--hold-enter", is_flag=True, help="a guest's line waits for your key")
@click.option(
    "--size",
    type=click.Choice(["sharer", "smallest"]),
    default="sharer",
    help="whose terminal decides how large it is",
)
@click.option("--record", metavar="FILE", help="record it, as asciicast v2")
@click.option("--list", "wants_list", is_flag=True, help="the terminals, and who looks at them")
@click.option("--lock", is_flag=True, help="take typing away from all guests, at once")
@click.option("--unlock", is_flag=True, help="give back what they had")
@click.option("--terminal", metavar="NAME", default="", help="which, where there are several")
@of_a_share
def terminal(
    words: tuple[str, ...],
    read_write: bool,
    read_only: bool,
    hold_enter: bool,
    size: str,
    record: str | None,
    wants_list: bool,
    lock: bool,
    unlock: bool,
    terminal: str,
    share: str | None,
    as_json: bool,
) -> None:
    """Open a shell in the machine, here, and show it to guests; or go back to the one called NAME.

    Guests see it with `vconnect terminal`. It ends with its shell, and when you leave it with
    Enter ~ . (Enter ~ d leaves and lets it go on, Enter ~ ? tells the rest).
    """
    if read_write and read_only:
        raise UsageError("--read-write and --read-only exclude each other", "give one of them")
    if lock and unlock:
        raise UsageError("--lock and --unlock exclude each other", "give one of them")
    chosen = choose_share(share)
    if wants_list:
        _list(chosen, as_json=as_json)
    elif lock or unlock:
        which = terminal or (words[0] if words else "")
        done = chosen.ask(requests.LockTerminal(which, locked=lock), OneTerminal)
        what = "Guests cannot type" if lock else "Guests can type as before"
        _console(chosen, done, as_json=as_json).step(f"{what} in the terminal {done.name!r}.")
    elif words[:1] in ((GRANT,), (REVOKE,), (END,)):
        _act(chosen, words, terminal, as_json=as_json)
    else:
        name = _name(words, terminal)
        columns, rows = shutil.get_terminal_size(USUAL)
        path = str(Path(record).absolute()) if record else ""
        request = requests.Terminal(
            name,
            columns,
            rows,
            read_write=read_write,
            hold=hold_enter,
            smallest=size == "smallest",
            record=path,
        )
        _sit(chosen, request, as_json=as_json)


def _name(words: tuple[str, ...], given: str) -> str:
    if len(words) > 1 or (words and given):
        raise UsageError("a terminal has one name", "see `vshare terminal --help`")
    return words[0] if words else given or USUAL_NAME


def _sit(share: Running, request: requests.Terminal, *, as_json: bool) -> None:
    from vshare.terminals.sharers_seat import sit_at

    console = Console("terminal", as_json=as_json)

    async def sit(interrupt: Interrupt) -> None:
        await sit_at(share, request, console, interrupt)

    sys.exit(run(console, sit))


def _act(share: Running, words: tuple[str, ...], which: str, *, as_json: bool) -> None:
    verb, *rest = words
    if verb == END:
        which = which or (rest.pop(0) if rest else "")
    if len(rest) != (0 if verb == END else 1):
        raise UsageError(
            f"`vshare terminal {verb}` is given "
            + ("a terminal's name at most" if verb == END else "one guest's name"),
            "--terminal NAME says which terminal; `vshare terminal --list` shows both",
        )
    if verb == END:
        done = share.ask(requests.EndTerminal(which), OneTerminal)
        _console(share, done, as_json=as_json).step(f"The terminal {done.name!r} has ended.")
        return
    guest, write = rest[0], verb == GRANT
    done = share.ask(requests.GrantTerminal(guest, which, write), OneTerminal)
    may = "may type" if write else "may not type any more"
    _console(share, done, as_json=as_json).step(f"{guest} {may} in the terminal {done.name!r}.")


def _list(share: Running, *, as_json: bool) -> None:
    found = share.ask(requests.Terminals(), TerminalList)
    if _console(share, found, as_json=as_json).as_json:
        return
    count = len(found.terminals)
    click.echo(f"{count} {'terminal' if count == 1 else 'terminals'} of {share.name}")
    for each in found.terminals:
        print_table([_cells(each)])
        print_table([("", *_viewer_cells(viewer)) for viewer in each.viewers])


def _console(share: Running, result: Result, *, as_json: bool) -> Console:
    """The screen, on which scripts have `result` already."""
    console = Console(share.name, as_json=as_json)
    console.event(share=share.name, **msgspec.to_builtins(result))
    return console


def _cells(terminal: TerminalRow) -> tuple[str, ...]:
    notes = ["read-write" if terminal.read_write else "read-only"]
    notes += ["locked"] if terminal.locked else []
    notes += ["lines wait for you"] if terminal.hold else []
    notes += [f"recorded to {terminal.record}"] if terminal.record else []
    size = f"{terminal.columns}x{terminal.rows}"
    return terminal.name, size, ", ".join(notes)


def _viewer_cells(viewer: ViewerRow) -> tuple[str, ...]:
    may = "may type" if viewer.write else "asks to type" if viewer.asks else "looks on"
    return viewer.name, may, f"waits with: {viewer.held}" if viewer.held else ""


COMMANDS: tuple[click.Command, ...] = (terminal,)
