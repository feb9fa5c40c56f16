"""The `vconnect` command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from connect_vm.local_port import parse_map
from connect_vm.session import Options, connect
from connect_vm.vm import DRIVERS
from tunnel.address import parse_port
from tunnel.command import run_command
from tunnel.console import Console, Interrupt, run
from tunnel.errors import UsageError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="NAME[@RELAY]")
@click.argument("arguments", metavar="[-- SSH ARGUMENTS]", nargs=-1, type=click.UNPROCESSED)
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option("--relay-only", is_flag=True, help="through the relay, also on the same network")
@click.option("--code-file", type=click.Path(path_type=Path), help="read the code from a file")
@click.option("--as", "guest", metavar="NAME", help="what the sharer sees you as")
@click.option("--disable-static-ip", is_flag=True, help="SOCKS only, no VM")
@click.option("--static-ip", metavar="IP", help="ask for this IP (172.16.0.0/12)")
@click.option("--socks-port", metavar="PORT", default="0", help="the SOCKS port [any free one]")
@click.option("--socks-host", metavar="IP", default="127.0.0.1", help="listen there: beware")
@click.option(
    "--map",
    "maps",
    type=parse_map,
    multiple=True,
    metavar="PORT:LOCAL",
    help="have the machine's PORT on localhost:LOCAL (repeat)",
)
@click.option("--only", is_flag=True, help="this machine alone, of several shared together")
@click.option("--no-localhost", is_flag=True, help="what is shared by name gets no local port")
@click.option("--ssh", is_flag=True, help="log in to the machine: no VM, no SOCKS")
@click.option(
    "--ssh-password-file", type=click.Path(path_type=Path), help="read the SSH password from a file"
)
@click.option("--driver", type=click.Choice(DRIVERS), default="libvirt", help="what runs the VM")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
@click.version_option(package_name="vshare", prog_name="vconnect")
@click.pass_context
def cli(
    context: click.Context,
    name: str,
    arguments: tuple[str, ...],
    relay: str | None,
    relay_only: bool,
    code_file: Path | None,
    guest: str | None,
    disable_static_ip: bool,
    static_ip: str | None,
    socks_port: str,
    socks_host: str,
    maps: tuple[tuple[int, int], ...],
    only: bool,
    no_localhost: bool,
    ssh: bool,
    ssh_password_file: Path | None,
    driver: str,
    as_json: bool,
    verbose: bool,
) -> None:
    """Connect to a shared machine, until Ctrl-C.

    NAME is what the sharer's `vshare up` printed; you are asked for the code. The machine
    gets an IP of its own here, and a SOCKS5 address that knows it by that IP and by name.

    With --ssh you log in to it instead, if the sharer shares that too; arguments after `--` are
    for `ssh`, a command for instance.

    `vconnect terminal NAME@RELAY` sits before a terminal that the sharer shares.
    `vconnect doctor [NAME@RELAY]` says what works between here and the relay.

    What the sharer shares by name is on `localhost`, too. In another terminal `vconnect servers`
    shows it, `vconnect open`, `copy`, `map` and `unmap` do more with it, `vconnect guests` shows
    who else is there.
    """
    _check(context, arguments, ssh=ssh, password_file=ssh_password_file)
    options = Options(
        line=name,
        relay=relay,
        relay_only=relay_only,
        code_file=code_file,
        static_ip=not disable_static_ip,
        ip=static_ip,
        socks_host=socks_host,
        socks_port=0 if socks_port == "0" else parse_port(socks_port),
        driver=driver,
        localhost=not no_localhost,
        only=only,
        maps=maps,
        guest=guest,
        ssh_password_file=ssh_password_file,
        ssh_arguments=arguments,
    )
    console = Console("connect", as_json=as_json, verbose=verbose)
    if not ssh:
        sys.exit(run(console, lambda interrupt: connect(options, console, interrupt)))
    ended = 0

    async def log_in(interrupt: Interrupt) -> None:
        from connect_vm.ssh_session import connect_ssh  # asyncssh takes others a while to load

        nonlocal ended
        ended = await connect_ssh(options, console, interrupt)

    sys.exit(run(console, log_in) or ended)


# What --ssh starts neither of, and what its output would be mixed with.
_NOT_WITH_SSH = {
    "static_ip": "--static-ip",
    "disable_static_ip": "--disable-static-ip",
    "socks_port": "--socks-port",
    "socks_host": "--socks-host",
    "maps": "--map",
    "no_localhost": "--no-localhost",
    "only": "--only",
    "driver": "--driver",
    "as_json": "--json",
}


def _check(
    context: click.Context, arguments: tuple[str, ...], *, ssh: bool, password_file: Path | None
) -> None:
    """Raises UsageError for options that contradict each other."""
    if not ssh:
        if arguments:
            text = f"unexpected extra argument {arguments[0]!r}"
            raise UsageError(text, "arguments after the name are for --ssh")
        if password_file is not None:
            raise UsageError("--ssh-password-file is for --ssh", "add --ssh")
        return
    for name, option in _NOT_WITH_SSH.items():
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(f"--ssh and {option} contradict each other", "leave one out")


# Commands for a `vconnect` that runs, of connect_vm/cli_running.py.
OF_A_CONNECTION = frozenset({"servers", "map", "unmap", "open", "copy", "guests", "terminals"})


def main() -> NoReturn:
    """The console script. A share that is called as a command is reached as `doctor@RELAY`."""
    if sys.argv[1:2] == ["doctor"]:
        from connect_vm.cli_doctor import doctor  # what it needs takes others a while to load

        del sys.argv[1]
        run_command(doctor, "vconnect doctor", "doctor")
    if sys.argv[1:2] and sys.argv[1] in OF_A_CONNECTION:
        from connect_vm.cli_running import COMMANDS

        name = sys.argv.pop(1)
        run_command(COMMANDS[name], f"vconnect {name}", "connect")
    if sys.argv[1:2] == ["terminal"]:
        from connect_vm.cli_terminal import terminal

        del sys.argv[1]
        run_command(terminal, "vconnect terminal", "terminal")
    run_command(cli, "vconnect", "connect")


if __name__ == "__main__":
    main()
