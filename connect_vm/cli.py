"""The `vconnect` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from connect_vm.session import Options, connect
from connect_vm.vm import DRIVERS
from tunnel.address import parse_port
from tunnel.command import run_command
from tunnel.console import Console, run


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="NAME[@RELAY]")
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--code-file", type=click.Path(path_type=Path), help="read the code from a file")
@click.option("--as", "guest", metavar="NAME", help="what the sharer sees you as")
@click.option("--disable-static-ip", is_flag=True, help="SOCKS only, no VM")
@click.option("--static-ip", metavar="IP", help="ask for this IP (172.16.0.0/12)")
@click.option("--socks-port", metavar="PORT", default="0", help="the SOCKS port [any free one]")
@click.option("--socks-host", metavar="IP", default="127.0.0.1", help="listen there: beware")
@click.option("--driver", type=click.Choice(DRIVERS), default="libvirt", help="what runs the VM")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
@click.version_option(package_name="vshare", prog_name="vconnect")
def cli(
    name: str,
    relay: str | None,
    code_file: Path | None,
    guest: str | None,
    disable_static_ip: bool,
    static_ip: str | None,
    socks_port: str,
    socks_host: str,
    driver: str,
    as_json: bool,
    verbose: bool,
) -> None:
    """Connect to a shared machine, until Ctrl-C.

    NAME is what the sharer's `vshare up` printed; you are asked for the code. The machine
    gets an IP of its own here, and a SOCKS5 address that knows it by that IP and by name.
    """
    options = Options(
        line=name,
        relay=relay,
        code_file=code_file,
        static_ip=not disable_static_ip,
        ip=static_ip,
        socks_host=socks_host,
        socks_port=0 if socks_port == "0" else parse_port(socks_port),
        driver=driver,
        guest=guest,
    )
    console = Console("connect", as_json=as_json, verbose=verbose)
    sys.exit(run(console, lambda interrupt: connect(options, console, interrupt)))


def main() -> NoReturn:
    """The console script."""
    run_command(cli, "vconnect", "connect")


if __name__ == "__main__":
    main()
