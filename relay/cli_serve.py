"""`vrelay serve`: run a relay until somebody ends it."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from relay.accounts.cli import state_directory
from relay.config import RelayConfig
from relay.operation.events import Event, tell
from relay.operation.logs import log_to
from relay.server import Relay
from relay.settings import setting_options
from relay.settings_file import chosen_file, read_settings, unknown_variables
from relay.settings_rules import config_of, shared_domain
from tunnel.console import Console, Interrupt, run
from tunnel.errors import VshareError

log = logging.getLogger(__name__)


def _read_file(context: click.Context, _: click.Parameter, given: Path | None) -> Path | None:
    """Let what the file says be the options' defaults. Raises UsageError."""
    path = chosen_file(given)
    if path is not None:
        file = read_settings(path)
        file.check()
        context.default_map = dict(file.values)
    return path


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read_file,
    help="The file with the settings [/etc/vshare/relay.toml, if that is there].",
)
@setting_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("-v", "--verbose", is_flag=True, help="Log what happens.")
def serve(as_json: bool, verbose: bool, **values: Any) -> None:
    """Serve until Ctrl-C. SIGHUP reads the files of --cert and --key again."""
    console = Console("relay", as_json=as_json, verbose=verbose)
    config = config_of(values, state_directory(values["state_dir"]))
    for problem in unknown_variables():
        console.warn(f"{problem.text}; {problem.hint}")
    sys.exit(run(console, lambda interrupt: _logged(config, console, interrupt)))


async def _logged(config: RelayConfig, console: Console, interrupt: Interrupt) -> None:
    """Serve, with the log that is wanted."""
    if config.log_format is None:
        await _serve(config, console, interrupt)
        return
    with log_to(config.log_format, verbose=console.verbose):
        await _serve(config, console, interrupt)
        tell(log, logging.INFO, Event.STOPPED, "the relay stops")


async def _serve(config: RelayConfig, console: Console, interrupt: Interrupt) -> None:
    async with Relay(config) as relay:
        if config.acme is not None:
            with console.busy(f"Asking {config.acme.server} for a certificate"):
                await relay.settled()
            if config.acme.dns_hook is None:
                console.detail(
                    "Sites of shares have a certificate that the relay made, which browsers warn"
                    " of: --acme-dns-hook, or --cert, gives them one that is known."
                )
        if common := shared_domain(config.pages_host, relay.domain):
            console.detail(
                f"Sites of shares can set cookies for {common}, which reach {config.pages_host},"
                " unless that is a public suffix."
            )
        if console.as_json:
            console.event(
                event="serving",
                relay=str(relay.address),
                fingerprint=relay.fingerprint,
                domain=relay.domain,
                pages_host=config.pages_host or None,
                accounts=config.accounts,
            )
        else:
            click.echo(f"relay address: {relay.address}")
            if config.accounts:
                console.detail("Who shares needs a token: `vrelay token create` makes them.")
        text = f"the relay serves at {relay.address}"
        tell(log, logging.INFO, Event.SERVING, text, version=version("vshare"))
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
