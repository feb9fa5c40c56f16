"""The `vshare` command."""

from __future__ import annotations

import re
import sys
from typing import NoReturn

import click

from tunnel.address import parse_port
from tunnel.command import run_command
from tunnel.console import Console, run
from tunnel.errors import UsageError
from vshare.share import EXPIRES_IN, Options, share_up

MIN_EXPIRES, MAX_EXPIRES = 10.0, 365 * 86_400.0  # seconds
_DURATION = re.compile(r"(\d{1,6})([smhd]?)")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def _seconds(value: str | float) -> float:
    """`90m`, `8h`, `30s`, `2d`, or seconds, as seconds. Raises UsageError."""
    if isinstance(value, float):
        return value
    match = _DURATION.fullmatch(value)
    seconds = float(int(match[1]) * _UNITS[match[2]]) if match else 0.0
    if not MIN_EXPIRES <= seconds <= MAX_EXPIRES:
        raise UsageError(f"not a time to expire in: {value!r}", "write 90m, 8h or 2d; at least 10s")
    return seconds


class _DefaultUp(click.Group):
    """`vshare` alone, or with options alone, is `vshare up`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ("--help", "--version")):
            args = ["up", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_DefaultUp, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vshare", prog_name="vshare")
def cli() -> None:
    """Share a local virtual machine with somebody far away.

    `vshare` without a command is `vshare up`.
    """


@cli.command()
@click.argument("machine", required=False)
@click.option("--domain", metavar="NAME", help="share this libvirt domain")
@click.option("--target", metavar="ADDRESS", help="share what is at ADDRESS, or ssh://USER@HOST")
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--lan", is_flag=True, help="without a relay: let others on this network in")
@click.option("--name", help="ask for this name instead of a fresh one")
@click.option("--disable-http", is_flag=True, help="no public URL: guests with the code only")
@click.option("--http", "http_port", type=parse_port, metavar="PORT", help="the HTTP port to share")
@click.option("--https", "https_port", type=parse_port, metavar="PORT", help="the HTTPS port")
@click.option(
    "--port",
    "ports",
    type=parse_port,
    multiple=True,
    metavar="PORT",
    help="only these ports (repeat)",
)
@click.option(
    "--loopback",
    type=parse_port,
    multiple=True,
    metavar="PORT",
    help="a port on its loopback (repeat)",
)
@click.option(
    "--expires", "expires_in", type=_seconds, metavar="TIME", default=EXPIRES_IN, help="90m, 8h, 2d"
)
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
def up(
    machine: str | None,
    domain: str | None,
    target: str | None,
    relay: str | None,
    lan: bool,
    name: str | None,
    disable_http: bool,
    http_port: int | None,
    https_port: int | None,
    ports: tuple[int, ...],
    loopback: tuple[int, ...],
    expires_in: float,
    as_json: bool,
    verbose: bool,
) -> None:
    """Share the machine of this directory's Vagrantfile, until Ctrl-C.

    MACHINE is needed where several run. The whole machine is shared, TCP and UDP, but for
    SSH; --port restricts it.
    """
    options = Options(
        machine=machine,
        domain=domain,
        target=target,
        relay=relay,
        lan=lan,
        name=name,
        http=not disable_http,
        http_port=http_port,
        https_port=https_port,
        ports=ports,
        loopback=loopback,
        expires_in=expires_in,
    )
    console = Console(machine or "vshare", as_json=as_json, verbose=verbose)
    sys.exit(run(console, lambda interrupt: share_up(options, console, interrupt)))


def main() -> NoReturn:
    """The console script."""
    run_command(cli, "vshare", "vshare")


if __name__ == "__main__":
    main()
