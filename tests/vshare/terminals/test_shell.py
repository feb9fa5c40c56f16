"""What a program writes is shown in pieces that take no long time."""

from __future__ import annotations

from tests.loops import run, until
from tunnel.vt.slices import MOST
from vshare.terminals.shell import Shell
from vshare.terminals.terminal import SharedTerminal, Terms


class _Channel:
    def change_terminal_size(self, columns: int, rows: int) -> None:
        """Nothing is told."""


def test_a_program_that_makes_much_work_of_few_bytes_holds_nobody_up() -> None:
    sizes: list[int] = []

    async def main() -> None:
        terminal = SharedTerminal("shell", Terms(), 200, 60)
        output = terminal.output
        shell = Shell()
        shell.connection_made(_Channel())  # type: ignore[arg-type]  # as much of one as it takes
        shell.run_in(terminal)

        def watched(data: bytes) -> None:
            sizes.append(len(data))
            output(data)

        terminal.output = watched  # type: ignore[method-assign]
        shell.data_received(b"\x1bc" * 600, None)  # a new screen each
        await until(lambda: sum(sizes) == 1200)

    run(main)
    assert max(sizes) <= 2 * MOST
