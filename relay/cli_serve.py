"""`vrelay serve`: run a relay until somebody ends it."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from relay.accounts.cli import state_directory
from relay.cli_life import TAKE_OVER, live, relay_of
from relay.config import RelayConfig
from relay.operation.events import Event, tell
from relay.operation.logged_console import LoggedConsole
from relay.operation.logs import log_to
from relay.settings import setting_options
from relay.settings_file import chosen_file, read_settings, unknown_variables
from relay.settings_rules import config_of, shared_domain
from tunnel.console import Console, Interrupt, run

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Life:
    """How a relay is to run, and to end."""

    config: RelayConfig
    folder: Path
    drain: float
    takes_over: bool


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
@click.option(
    TAKE_OVER,
    is_flag=True,
    help="Take the place of the relay of this state directory that runs, if there is one, without a"
    " connection lost: it sends its shares here, and serves who is there.",
)
def serve(as_json: bool, verbose: bool, take_over: bool, **values: Any) -> None:
    """Serve until Ctrl-C, or SIGTERM, which waits for those who are there. SIGHUP reads the files
    of --cert and --key again; SIGUSR2 starts what is installed by now, which takes over."""
    screen = LoggedConsole if values["log_format"] else Console
    console = screen("relay", as_json=as_json, verbose=verbose)
    folder = state_directory(values["state_dir"])
    life = _Life(config_of(values, folder), folder, values["drain"], take_over)
    for problem in unknown_variables():
        console.warn(f"{problem.text}; {problem.hint}")
    sys.exit(run(console, lambda interrupt: _logged(life, console, interrupt)))


async def _logged(life: _Life, console: Console, interrupt: Interrupt) -> None:
    """Serve, with the log that is wanted."""
    if life.config.log_format is None:
        await _serve(life, console, interrupt)
        return
    hides, verbose = life.config.hide_sources, console.verbose
    with log_to(life.config.log_format, verbose=verbose, hide_sources=hides):
        await _serve(life, console, interrupt)
        tell(log, logging.INFO, Event.STOPPED, "the relay stops")


def about_pages(config: RelayConfig, port: int) -> str:
    """Where people sign in, or why nowhere; empty where nobody would think of it."""
    if not config.accounts:
        none = "There are no pages to sign in to, since there are no accounts: see --accounts."
        return none if config.pages_host else ""
    if not config.pages_host:
        return "There are no pages to sign in to: --pages-host HOST gives them a name of their own."
    shown = config.public_port or port
    host = f"{config.pages_host}{'' if shown == 443 else f':{shown}'}"
    return f"Who has a token of the scope `pages` signs in at https://{host}/"


async def _serve(life: _Life, console: Console, interrupt: Interrupt) -> None:
    config = life.config
    async with relay_of(config, console, take_over=life.takes_over) as relay:
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
                metrics_port=relay.metrics_port or None,
            )
        else:
            click.echo(f"relay address: {relay.address}")
            if config.accounts:
                console.detail("Who shares needs a token: `vrelay token create` makes them.")
            if about := about_pages(config, relay.port):
                console.detail(about)
        text = f"the relay serves at {relay.address}"
        tell(log, logging.INFO, Event.SERVING, text, version=version("vshare"))
        await live(relay, life.folder, life.drain, console, interrupt)
