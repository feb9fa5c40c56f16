"""The terminals of a share: by name, who looks at them, who may type.

A stream of a guest's, a browser's WebSocket and the sharer's own terminal all are viewers, and
talk the messages of tunnel/terminal_messages.py (docs/protocol.md 8.9).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from tunnel.terminal_messages import MessageType
from vshare.terminals.identity import Identity

# Takes one whole message; False: no more until Viewer.ready, though this one was taken.
Sink: TypeAlias = Callable[[bytes], bool]


class Viewer(Protocol):
    """One who looks. Everything is called in the event loop's thread."""

    def ready(self) -> None:
        """The sink can take more: the present screen follows, if anything was left out."""

    def receive(self, kind: MessageType, payload: bytes) -> None:
        """A message of the viewer's. Raises RemoteProtocolError for one that is not allowed."""

    def close(self) -> None:
        """It looks no longer; the sink is not called again. Idempotent."""


class Hub:
    """All shared terminals of one share."""

    def names(self) -> list[str]:
        """The terminals there are, the oldest first."""
        raise NotImplementedError

    def view(self, name: str, identity: Identity, sink: Sink) -> Viewer:
        """Look at the terminal called `name`, "" for the only one. Raises RefusedError.

        STATE and SCREEN go to the sink from within. The last message that it is given is END
        (its first byte says so); then the viewer is closed already.
        """
        raise NotImplementedError
