"""What the share says of itself, on the screen as it changes (docs/protocol.md 8.8).

Names and words are the sharer's: names were checked (tunnel/follow.py), and what is printed loses
its control characters (tunnel/console.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from connect_vm.local_ports import LocalPorts
from connect_vm.requests import PeopleList, ServerRow, TerminalRow
from tunnel.console import Console
from tunnel.follow import Person, Say, Server, State, items_of

MAX_SHOWN = 12  # lines or names at once; `vconnect servers` and `guests` have them all
T = TypeVar("T")


class ShareNews:
    """Takes each state, has local ports follow it, and tells what is new. `me` is this guest."""

    def __init__(self, ports: LocalPorts, console: Console, me: str) -> None:
        self._ports, self._console, self._me = ports, console, me
        self._rows: list[ServerRow] = []
        self._heard: int | None = None  # number of the last message; None: none yet
        self._people: list[str] | None = None
        self._terminals: list[str] = []
        self.terminals: list[TerminalRow] = []

    @property
    def people(self) -> PeopleList:
        """Who else is there."""
        return PeopleList(self._people or [], self._people is not None)

    def told(self, state: State) -> None:
        """A state is another now. Raises RemoteProtocolError."""
        if state.type == "servers":
            self._servers(items_of(state, Server))
        elif state.type == "says":
            self._says(items_of(state, Say))
        elif state.type == "guests":
            self._guests([each.name for each in items_of(state, Person)])
        elif state.type == "terminals":
            self.terminals = items_of(state, TerminalRow)
            self._tell_of_terminals([each.name for each in self.terminals])

    def _servers(self, servers: Sequence[Server]) -> None:
        self._ports.set_servers(servers)
        before, self._rows = self._rows, [row for row in self._ports.rows if row.name]
        lines = [f"Shared: {_in_words(row)}" for row in self._rows if row not in before]
        now = {row.name for row in self._rows}
        lines += [f"No longer shared: {row.name}" for row in before if row.name not in now]
        self._lines(lines, "`vconnect servers` shows all")
        if before != self._rows:
            rows = [msgspec.to_builtins(row) for row in self._rows]
            self._console.event(event="servers", servers=rows)

    def _says(self, says: Sequence[Say]) -> None:
        """Messages of before this guest came are not for it."""
        new = [] if self._heard is None else [each for each in says if each.number > self._heard]
        self._heard = max([self._heard or 0, *(each.number for each in says)])
        for each in new[-MAX_SHOWN:]:
            self._console.step(f"The sharer says: {each.text}")
            self._console.event(event="said", text=each.text)

    def _guests(self, names: list[str]) -> None:
        others = [name for name in names if name != self._me]
        before, self._people = self._people, others
        if others == (before or []):
            return
        came = [name for name in others if name not in (before or [])]
        went = [name for name in before or [] if name not in others]
        if came:
            are = "is" if len(came) == 1 else "are"
            self._console.step(f"{_join(came)} {are} here, too.")
        if went:
            self._console.step(f"{_join(went)} left.")
        self._console.event(event="guests", guests=others)

    def _tell_of_terminals(self, names: list[str]) -> None:
        before, self._terminals = self._terminals, names
        new = [name for name in names if name not in before]
        gone = [name for name in before if name not in names]
        lines = [f"Shared terminal: {name} (vconnect terminal)" for name in new]
        lines += [f"No longer shared: the terminal {name}" for name in gone]
        self._lines(lines, "`vconnect terminals` shows all")
        if new or gone:
            self._console.event(event="terminals", terminals=names)

    def _lines(self, lines: list[str], more: str) -> None:
        for line in lines[:MAX_SHOWN]:
            self._console.step(line)
        if len(lines) > MAX_SHOWN:
            self._console.detail(f"and {len(lines) - MAX_SHOWN} more: {more}")


def _in_words(row: ServerRow) -> str:
    """`web at http://localhost:3001 (port 3000 of the machine)`."""
    if not row.local:
        return f"{row.name}, port {row.port} of the machine"
    where = row.url if row.scheme else f"localhost:{row.local}"
    other = "" if row.local == row.port else f" (port {row.port} of the machine)"
    return f"{row.name} at {where}{other}"


def _join(names: list[str]) -> str:
    shown = [*names[:MAX_SHOWN], *([f"{len(names) - MAX_SHOWN} more"] * (len(names) > MAX_SHOWN))]
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last
