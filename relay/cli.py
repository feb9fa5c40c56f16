"""`vrelay`: run a relay."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click
import platformdirs

from relay.config import DEFAULT_PORT, RelayConfig
from relay.server import Relay
from tunnel.address import parse_host_port
from tunnel.command import run_command
from tunnel.console import Console, Interrupt, run
from tunnel.errors import UsageError, VshareError


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="vshare", prog_name="vrelay")
def cli() -> None:
    """Run a relay: the meeting point of those who share machines and those who connect."""


@cli.command()
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default=f"127.0.0.1:{DEFAULT_PORT}",
    show_default=True,
    help="Where to listen; 0.0.0.0:443 or [::]:443 for everybody.",
)
@click.option(
    "--domain",
    default="localhost",
    show_default=True,
    help="Shares get the URLs NAME.DOMAIN; point DOMAIN and *.DOMAIN here.",
)
@click.option(
    "--public-port",
    type=click.IntRange(1, 65_535),
    help="The port that URLs show, when it is not the one listened on.",
)
@click.option(
    "--cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Certificate chain (PEM) for DOMAIN and *.DOMAIN; without it one is made and kept.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Private key (PEM) of --cert, when it is in another file.",
)
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where names and self-made keys are kept.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def serve(
    listen: str,
    domain: str,
    public_port: int | None,
    cert: Path | None,
    key: Path | None,
    state_dir: Path | None,
    as_json: bool,
    verbose: bool,
) -> None:
    """Serve until Ctrl-C. SIGHUP reads the files of --cert and --key again."""
    console = Console("relay", as_json=as_json, verbose=verbose)
    host, port = _parse_listen(listen)
    if key is not None and cert is None:
        raise UsageError("--key was given without --cert", "give both, or neither")
    config = RelayConfig(
        host=host,
        port=port,
        domain=domain.rstrip(".").lower(),
        public_port=public_port,
        certificate=cert,
        key=key,
        state_dir=state_dir or platformdirs.user_state_path("vrelay", appauthor=False),
    )
    sys.exit(run(console, lambda interrupt: _serve(config, console, interrupt)))


def _parse_listen(text: str) -> tuple[str, int]:
    """HOST:PORT, where port 0 means any. Raises UsageError."""
    if text.endswith(":0"):
        return parse_host_port(text[:-2], DEFAULT_PORT)[0], 0
    return parse_host_port(text, DEFAULT_PORT)


async def _serve(config: RelayConfig, console: Console, interrupt: Interrupt) -> None:
    async with Relay(config) as relay:
        if console.as_json:
            console.event(
                event="serving",
                relay=str(relay.address),
                fingerprint=relay.fingerprint,
                domain=relay.domain,
            )
        else:
            click.echo(f"relay address: {relay.address}")
        _reload_on_hangup(relay, console, interrupt)
        interrupt.serving = True
        await interrupt.stopped.wait()


def _reload_on_hangup(relay: Relay, console: Console, interrupt: Interrupt) -> None:
    """SIGHUP reads the certificate again, but for that of a terminal that was closed."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup(1)
        return
    had_terminal = _has_terminal()

    def hung_up() -> None:
        if had_terminal and not _has_terminal():
            interrupt.stopped.set()
            return
        try:
            console.step(relay.reload())
        except VshareError as error:
            console.warn(f"{error.text}; the relay goes on with the certificate that it has")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    """Whether the process has a controlling terminal: the kernel takes it away with a hang-up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def main() -> NoReturn:
    """The console script."""
    run_command(cli, "vrelay", "relay")


if __name__ == "__main__":
    main()
