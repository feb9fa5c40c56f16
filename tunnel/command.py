"""What the three commands have in common: how they start, how a wrong command line ends,
and how a table of answers is shown."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from typing import NoReturn

import click

from tunnel.console import EXIT_INTERRUPTED, EXIT_OK, EXIT_USAGE, Console, printable
from tunnel.errors import UsageError, VshareError
from tunnel.open_files import raise_open_files_limit

# Allocations, less what was freed, between the garbage collector's rounds. What streams leave are
# cycles of a few kB each: by Python's default of 700 every tenth stream would pay for a round.
COLLECT_EVERY = 10_000


def run_command(command: click.Command, name: str, machine: str) -> NoReturn:
    """Run `command` with the process's arguments and exit.

    `name` is what users type, `machine` what stands before lines (see Console). Errors of
    click's are shown as ours are: `error:`, `hint:`, exit code 2.
    """
    raise_open_files_limit()
    gc.freeze()  # what was imported stays, and is not looked through again
    gc.set_threshold(COLLECT_EVERY)
    console = Console(machine, as_json="--json" in sys.argv[1:])
    try:
        code = command.main(prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        text = error.format_message().rstrip(".")
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context else name
        console.error(UsageError(text[:1].lower() + text[1:], f"see `{path} --help`"))
        sys.exit(EXIT_USAGE)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except VshareError as error:
        console.error(error)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else EXIT_OK)


def print_table(rows: Iterable[tuple[str, ...]]) -> None:
    """Columns as wide as they have to be. Cells come from other machines: no control characters."""
    cells = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  " + "  ".join(padded).rstrip())
