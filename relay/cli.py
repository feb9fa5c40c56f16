"""`vrelay`: run a relay, and say who may share by it."""

from __future__ import annotations

from typing import NoReturn

import click

from relay.accounts.cli import COMMANDS
from relay.cli_config import check_config, init
from relay.cli_serve import serve
from relay.cli_service import service
from relay.history.cli import history
from relay.operation.backup_cli import backup
from tunnel.command import run_command


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vshare", prog_name="vrelay")
def cli() -> None:
    """Run a relay: the meeting point of those who share machines and those who connect."""


for command in (serve, init, check_config, service, backup, history, *COMMANDS):
    cli.add_command(command)


def main() -> NoReturn:
    """The console script."""
    run_command(cli, "vrelay", "relay")


if __name__ == "__main__":
    main()
