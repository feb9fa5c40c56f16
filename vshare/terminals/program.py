"""What runs in a shared terminal, as the terminal drives it."""

from __future__ import annotations

from typing import Protocol


class Program(Protocol):
    """A shell in the machine, or whatever else reads and writes bytes. What it writes it gives to
    SharedTerminal.output, and its end to SharedTerminal.ended, both in the event loop's thread."""

    def write(self, data: bytes) -> None:
        """Somebody typed `data`."""

    def resize(self, columns: int, rows: int) -> None:
        """The terminal has another size."""

    def pause(self) -> None:
        """Write nothing for now: the sharer's terminal cannot take more."""

    def resume(self) -> None:
        """Write again."""

    def close(self) -> None:
        """Hang up on it. `ended` may follow, or not. Idempotent."""
