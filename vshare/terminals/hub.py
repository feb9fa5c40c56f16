"""The terminals of a share: by name, who looks at them, who may type.

A stream of a guest's, a browser's WebSocket and the sharer's own terminal all are viewers, and
talk the messages of tunnel/terminal_messages.py (docs/protocol.md 8.9).
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tunnel.codes import Code
from tunnel.errors import RefusedError, UsageError
from tunnel.terminal_messages import MAX_NAME
from vshare.terminals.identity import Identity
from vshare.terminals.terminal import SharedTerminal, Terms
from vshare.terminals.viewer import Sink, Viewer

__all__ = ["Hub", "Sink", "Viewer"]

MAX_TERMINALS = 16  # of a share; each is a shell in the machine
MAX_VIEWERS = 256  # of a terminal
MAX_OF_ONE = 16  # of them of one guest's or one browser's: nobody takes all places
NAME = re.compile(rf"[a-z0-9][a-z0-9_.-]{{0,{MAX_NAME - 1}}}", re.ASCII | re.IGNORECASE)


class Hub:
    """All shared terminals of one share. `tell(kind, text, **fields)` is a newsroom's; `board`
    hears the whole list (of maps) whenever something in it has changed."""

    def __init__(
        self,
        tell: Callable[..., None] = lambda kind, text="", **fields: None,
        board: Callable[[list[dict[str, object]]], None] = lambda terminals: None,
    ) -> None:
        self.tell = tell
        self._board = board
        self._terminals: dict[str, SharedTerminal] = {}

    def names(self) -> list[str]:
        """The terminals there are, the oldest first."""
        return list(self._terminals)

    def all(self) -> list[SharedTerminal]:
        """The terminals there are, the oldest first."""
        return list(self._terminals.values())

    def view(self, name: str, identity: Identity, sink: Sink) -> Viewer:
        """Look at the terminal called `name`, "" for the only one. Raises RefusedError.

        STATE and SCREEN go to the sink from within. The last message that it is given is END
        (its first byte says so); then the viewer is closed already.
        """
        try:
            terminal = self.find(name)
        except UsageError as error:
            raise RefusedError(Code.UNKNOWN_HOST, error.text, error.hint) from None
        if not identity.is_sharer:
            viewers = terminal.viewers
            if len(viewers) >= MAX_VIEWERS:
                raise RefusedError(Code.BUSY, f"{MAX_VIEWERS} people look at that terminal already")
            if sum(each.identity.key == identity.key for each in viewers) >= MAX_OF_ONE:
                raise RefusedError(Code.BUSY, f"you look at that terminal {MAX_OF_ONE} times")
        return terminal.view(identity, sink)

    def find(self, name: str) -> SharedTerminal:
        """The terminal called `name`, "" for the only one. Raises UsageError."""
        if not name and len(self._terminals) == 1:
            return next(iter(self._terminals.values()))
        if name in self._terminals:
            return self._terminals[name]
        known = ", ".join(self._terminals)
        if not known:
            raise UsageError(
                "no terminal is shared", "the sharer shares one with `vshare terminal`"
            )
        what = f"there is no terminal {name!r}" if name else "there are several terminals"
        raise UsageError(what, f"terminals: {known}")

    def check_free(self, name: str) -> None:
        """Raises UsageError where there can be no new terminal called `name`."""
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} is no name for a terminal",
                f"1 to {MAX_NAME} of letters, digits, - _ and ., the first a letter or digit",
            )
        if name in self._terminals:
            raise UsageError(f"there is a terminal {name!r} already", "give another name")
        if len(self._terminals) >= MAX_TERMINALS:
            raise UsageError(
                f"{MAX_TERMINALS} terminals are shared already", "end one: vshare terminal end NAME"
            )

    def open(self, name: str, terms: Terms, columns: int = 80, rows: int = 24) -> SharedTerminal:
        """A new one, which nothing runs in yet. Raises UsageError."""
        self.check_free(name)
        terminal = SharedTerminal(name, terms, columns, rows)
        terminal.tell = self.tell
        terminal.on_change = self._changed
        terminal.on_end = lambda: self._ended(name)
        self._terminals[name] = terminal
        mode = "read-write" if terms.read_write else "read-only"
        self.tell(
            "terminal-opened",
            f"the terminal {name!r} is shared ({mode}); guests see it with vconnect terminal",
            terminal=name,
            mode=mode,
        )
        self._changed()
        return terminal

    def end_all(self, text: str, code: Code = Code.CLOSED) -> None:
        """The share ends."""
        for terminal in self.all():
            terminal.ended(text, code)

    def _ended(self, name: str) -> None:
        self._terminals.pop(name, None)
        self._changed()

    def _changed(self) -> None:
        self._board(
            [
                {
                    "name": each.name,
                    "mode": "read-write" if each.rights.read_write else "read-only",
                    "locked": each.rights.locked,
                    "columns": each.screen.columns,
                    "rows": each.screen.rows,
                    "viewers": len(each.viewers),
                }
                for each in self.all()
            ]
        )
