"""The `vshare` command."""

from __future__ import annotations

import sys
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, NoReturn

import click

from tunnel.address import parse_port
from tunnel.command import run_command
from tunnel.console import Console, run
from tunnel.errors import UsageError
from tunnel.follow import Server
from tunnel.own_domains import OwnDomain, parse_own_domain
from vshare import (
    cli_always,
    cli_domain,
    cli_login,
    cli_page,
    cli_rename,
    cli_running,
    cli_terminal,
    cli_together,
)
from vshare.cli_doctor import doctor
from vshare.cli_inspect import inspect
from vshare.cli_log import log
from vshare.cli_service import service
from vshare.default_command import DefaultCommand
from vshare.detach import Leaving, start
from vshare.durations import parse_duration
from vshare.neighbours import parse_cidr
from vshare.notify import parse_notify
from vshare.options import EXPIRES_IN, GuestPageOptions, Options, PassthroughOptions, SshOptions
from vshare.share_file import FILE, RememberedCommand, said_in_file
from vshare.together.servers import parse_server
from vshare.web.access import Network
from vshare.web.access_setup import AccessOptions, parse_network, parse_sharer, parse_user
from vshare.web.rewriting import KEEP


@click.group(
    cls=DefaultCommand, default="up", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name="vshare", prog_name="vshare")
def cli() -> None:
    """Share a local virtual machine with somebody far away.

    `vshare` without a command is `vshare up`.
    """


@cli.command(cls=RememberedCommand)
@click.argument("machines", metavar="[MACHINE]...", nargs=-1)
@click.option(
    "--domain", "domains", multiple=True, metavar="NAME", help="share this libvirt domain (repeat)"
)
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="ADDRESS",
    help="share what is at ADDRESS, or ssh://USER@HOST (repeat)",
)
@click.option("--relay", metavar="HOST:PORT#PIN", help="the relay [or $VSHARE_RELAY]")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="the relay's token [as by `vshare login`]"
)
@click.option("--lan", is_flag=True, help="without a relay: let others on this network in")
@click.option("--relay-only", is_flag=True, help="guests on this network use the relay, too")
@click.option("--name", help="ask for this name instead of a fresh one")
@click.option(
    "--own-domain",
    "own_domains",
    type=parse_own_domain,
    multiple=True,
    metavar="HOST",
    help="a domain of yours is to lead to the URL, too (repeat)",
)
@click.option("--disable-http", is_flag=True, help="no public URL: guests with the code only")
@click.option("--disable-https", is_flag=True, help="no site that the machine speaks HTTPS for")
@click.option("--http", "http_port", type=parse_port, metavar="PORT", help="the HTTP port to share")
@click.option("--https", "https_port", type=parse_port, metavar="PORT", help="the HTTPS port")
@click.option(
    "--host-header",
    metavar="keep|rewrite|HOST",
    default=KEEP,
    help="the Host that the web server gets",
)
@click.option(
    "--http-auth", "user", type=parse_user, metavar="USER", help="visitors log in as USER"
)
@click.option(
    "--http-auth-file", "auth_file", type=click.Path(path_type=Path), help="it has USER:PASSWORD"
)
@click.option("--http-passcode", "passcode", is_flag=True, help="visitors need a passcode")
@click.option(
    "--http-passcode-file",
    "passcode_file",
    type=click.Path(path_type=Path),
    help="read it from a file",
)
@click.option(
    "--allow",
    type=parse_network,
    multiple=True,
    metavar="CIDR",
    help="visitors may come from there alone (repeat)",
)
@click.option(
    "--deny", type=parse_network, multiple=True, metavar="CIDR", help="none from there (repeat)"
)
@click.option(
    "--interstitial",
    "sharer",
    type=parse_sharer,
    metavar="WHO",
    help="browsers see first that WHO shares the site",
)
@click.option(
    "--https-passthrough",
    "passthrough",
    is_flag=True,
    help="browsers' TLS ends here, not at the relay",
)
@click.option(
    "--https-cert", type=click.Path(path_type=Path), help="with it: its certificate [made here]"
)
@click.option("--https-key", type=click.Path(path_type=Path), help="the certificate's key")
@click.option("--guest-page", is_flag=True, help="a page for browsers: servers and terminals")
@click.option(
    "--guest-page-terminals",
    "page_terminals",
    type=click.Choice(["none", "read", "write"]),
    default="read",
    help="what browsers may do with them",
)
@click.option(
    "--guest-page-passcode-file",
    "page_passcode_file",
    type=click.Path(path_type=Path),
    help="it has the page's passcode [one is made]",
)
@click.option("--no-dashboard", is_flag=True, help="no page that shows what happens")
@click.option("--qr", is_flag=True, help="show the URL as a QR code")
@click.option("--ssh", is_flag=True, help="share SSH too, with a key made for it")
@click.option("--ssh-no-password", is_flag=True, help="guests need no password for the key")
@click.option("--ssh-password-file", type=click.Path(path_type=Path), help="read it from a file")
@click.option("--ssh-once", is_flag=True, help="one guest can log in, one time")
@click.option("--ssh-port", type=parse_port, metavar="PORT", help="the port of the machine's sshd")
@click.option("--ssh-user", metavar="USER", help="who guests log in as [whom we log in as]")
@click.option(
    "--port",
    "ports",
    type=parse_port,
    multiple=True,
    metavar="PORT",
    help="only these ports (repeat)",
)
@click.option(
    "--serve",
    "servers",
    type=parse_server,
    multiple=True,
    metavar="PORT=NAME",
    help="guests get this port by name, on their localhost (repeat)",
)
@click.option("--only-served", is_flag=True, help="guests open what --serve names, no more")
@click.option("--show-guests", is_flag=True, help="guests see who else is there")
@click.option(
    "--loopback",
    type=parse_port,
    multiple=True,
    metavar="PORT",
    help="a port on its loopback (repeat)",
)
@click.option(
    "--expose",
    type=parse_cidr,
    multiple=True,
    metavar="CIDR",
    help="neighbours of the machine that guests reach too (repeat)",
)
@click.option(
    "--unfence",
    type=parse_port,
    multiple=True,
    metavar="PORT",
    help="share it although it is dangerous (repeat)",
)
@click.option("--yes", is_flag=True, help="ask nothing: what is dangerous stays closed")
@click.option("--approve", is_flag=True, help="ask about each newcomer")
@click.option("--notify", type=parse_notify, metavar="URL", help="tell a webhook who joins [@FILE]")
@click.option(
    "--expires",
    "expires_in",
    type=parse_duration,
    metavar="TIME",
    default=EXPIRES_IN,
    help="90m, 8h, 2d",
)
@click.option("--no-sleep", is_flag=True, help="keep this host awake while it shares")
@click.option("--detach", is_flag=True, help="go on in the background, once it is up")
@click.option("--no-config", is_flag=True, help="leave vshare.toml aside")
@click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")
@click.option("-v", "--verbose", is_flag=True, help="say what happens inside")
@click.pass_context
def up(
    context: click.Context,
    machines: tuple[str, ...],
    domains: tuple[str, ...],
    targets: tuple[str, ...],
    relay: str | None,
    token_file: Path | None,
    lan: bool,
    relay_only: bool,
    name: str | None,
    own_domains: tuple[OwnDomain, ...],
    disable_http: bool,
    disable_https: bool,
    http_port: int | None,
    https_port: int | None,
    host_header: str,
    passthrough: bool,
    https_cert: Path | None,
    https_key: Path | None,
    user: str | None,
    auth_file: Path | None,
    passcode: bool,
    passcode_file: Path | None,
    allow: tuple[Network, ...],
    deny: tuple[Network, ...],
    sharer: str | None,
    guest_page: bool,
    page_terminals: Literal["none", "read", "write"],
    page_passcode_file: Path | None,
    no_dashboard: bool,
    qr: bool,
    ssh: bool,
    ssh_no_password: bool,
    ssh_password_file: Path | None,
    ssh_once: bool,
    ssh_port: int | None,
    ssh_user: str | None,
    ports: tuple[int, ...],
    servers: tuple[Server, ...],
    only_served: bool,
    show_guests: bool,
    loopback: tuple[int, ...],
    expose: tuple[IPv4Network | IPv6Network, ...],
    unfence: tuple[int, ...],
    yes: bool,
    approve: bool,
    notify: str | None,
    expires_in: float,
    no_sleep: bool,
    detach: bool,
    no_config: bool,
    as_json: bool,
    verbose: bool,
) -> None:
    """Share the machine of this directory's Vagrantfile, until Ctrl-C.

    MACHINE is needed where several run; several are shared at once if they are named, each with
    a name and a URL of its own, and one code. The whole machine is shared, TCP and UDP, but for
    SSH (--ssh shares it); --port restricts it. Options that are always the same can be in the
    file vshare.toml beside the Vagrantfile.
    """
    ssh_options = SshOptions(not ssh_no_password, ssh_password_file, ssh_once, ssh_port, ssh_user)
    if not ssh and ssh_options != SshOptions():
        raise UsageError("an option for SSH without --ssh", "add --ssh, or leave the option out")
    page = GuestPageOptions(page_terminals, page_passcode_file)
    if not guest_page and page != GuestPageOptions():
        raise UsageError("an option for the guest page without it", "add --guest-page")
    if not passthrough and (https_cert or https_key):
        raise UsageError(
            "--https-cert or --https-key without --https-passthrough",
            "add it; the relay has a certificate of its own",
        )
    options = Options(
        relay=relay,
        token_file=token_file,
        lan=lan,
        direct=not relay_only,
        name=name,
        own_domains=tuple(dict.fromkeys(own_domains)),
        http=not disable_http,
        https=not disable_https,
        http_port=http_port,
        https_port=https_port,
        host_header=host_header,
        passthrough=PassthroughOptions(https_cert, https_key) if passthrough else None,
        access=AccessOptions(allow, deny, user, auth_file, passcode, passcode_file, sharer),
        guest_page=page if guest_page else None,
        dashboard=not no_dashboard,
        qr=qr,
        ports=ports,
        servers=servers,
        only_served=only_served,
        show_guests=show_guests,
        loopback=loopback,
        expose=expose,
        unfence=unfence,
        ssh=ssh_options if ssh else None,
        approve=approve,
        notify=notify,
        expires_in=expires_in,
        no_sleep=no_sleep,
        file=context.meta.get(FILE),
        ask=not (yes or as_json),
    )
    leaving = Leaving.maybe()
    if detach and leaving is None:
        sys.exit(start(sys.argv[1:]))
    from vshare.several import each_machine, share_all  # half a second, which others need not wait

    each = each_machine(options, machines, domains, targets)
    console = Console(each[0].machine or "vshare", as_json=as_json, verbose=verbose)
    if FILE in context.meta:
        console.detail(f"Options are read from {context.meta[FILE]}: {said_in_file(context)}")
    sys.exit(run(console, lambda interrupt: share_all(each, console, interrupt, leaving)))


for command in (
    *cli_running.COMMANDS,
    *cli_always.COMMANDS,
    *cli_domain.COMMANDS,
    *cli_login.COMMANDS,
    *cli_rename.COMMANDS,
    *cli_together.COMMANDS,
    *cli_terminal.COMMANDS,
    *cli_page.COMMANDS,
    doctor,
    inspect,
    log,
    service,
):
    cli.add_command(command)


def main() -> NoReturn:
    """The console script."""
    run_command(cli, "vshare", "vshare")


if __name__ == "__main__":
    main()
