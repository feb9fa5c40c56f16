"""`vrelay check-config` and `vrelay init`: the settings before a relay serves."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from relay.accounts.book import Allowance, account_book
from relay.accounts.cli import state_directory
from relay.accounts.permits import SHARE
from relay.config_check import check
from relay.service_unit import STATE
from relay.settings import SETTINGS, setting_options
from relay.settings_file import PLACE, Problem, SettingsFile, chosen_file, read_settings
from relay.settings_rules import is_open, problems_of
from relay.settings_text import settings_text
from tunnel.console import EXIT_FAILURE, EXIT_OK, Console, printable
from tunnel.errors import UsageError, VshareError

EVERYWHERE = ("0.0.0.0:443", "0.0.0.0:80")  # what a relay for the world listens on,
ALSO_IPV6 = ("[::]:443", "[::]:80")  # and where there is IPv6
ADMINISTRATOR = "admin"  # the first user, unless another name is said
ROOT = 0
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("check-config")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check_config(file: Path | None, as_json: bool) -> None:
    """Say what is wrong with the settings in FILE and the environment [/etc/vshare/relay.toml].

    Exit code 0: it can be served; warnings may have been said. 1: it cannot. 2: there is no file
    that can be read.
    """
    console = Console("relay", as_json=as_json)
    path = chosen_file(file)
    settings = read_settings(path) if path is not None else None
    state = settings.values.get("state_dir") if settings is not None else None
    chosen = os.environ.get("VRELAY_STATE_DIR") or state
    problems = list(check(settings, state_directory(Path(chosen)) if chosen else Path(STATE)))
    faults = sum(not each.warning for each in problems)
    console.event(
        event="checked",
        file=str(path) if path else None,
        ok=not faults,
        problems=[_event(each, settings) for each in problems],
    )
    if not as_json:
        for each in problems:
            _tell(each, settings)
        _sum_up(console, path, faults, len(problems) - faults)
    sys.exit(EXIT_FAILURE if faults else EXIT_OK)


def _line_of(problem: Problem, file: SettingsFile | None) -> int:
    return problem.line or (file.lines.get(problem.name, 0) if file is not None else 0)


def _event(problem: Problem, file: SettingsFile | None) -> dict[str, object]:
    return {
        "setting": problem.name or None,
        "line": _line_of(problem, file) or None,
        "warning": problem.warning,
        "text": problem.text,
        "hint": problem.hint,
    }


def _tell(problem: Problem, file: SettingsFile | None) -> None:
    line = _line_of(problem, file)
    place = f"{file.path}, line {line}: " if line and file is not None else ""
    kind = "warning" if problem.warning else "error"
    click.echo(printable(f"{kind}: {place}{problem.text}"), err=True)
    if problem.hint:
        click.echo(printable(f"hint: {problem.hint}"), err=True)


def _sum_up(console: Console, path: Path | None, faults: int, warnings: int) -> None:
    if path is None:
        console.detail(f"There is no {PLACE}: the defaults count. `vrelay init` writes one.")
    where = path or "what the environment says"
    if faults:
        console.step(f"{where}: {faults} to be mended, {warnings} to be looked at")
    else:
        console.step(f"{where} can be served ({warnings} to be looked at)")


@click.command()
@click.option(
    "--file", type=_FILE, default=PLACE, show_default=True, help="Where the settings are written."
)
@click.option("--user", default=ADMINISTRATOR, show_default=True, help="Who gets the first token.")
@click.option("--yes", is_flag=True, help="Ask nothing: what no option says is as by default.")
@click.option("--overwrite", is_flag=True, help="A file that is there is written anew.")
@setting_options
@click.pass_context
def init(
    context: click.Context, /, file: Path, user: str, yes: bool, overwrite: bool, **_: Any
) -> None:
    """Write the settings of a relay, and make its first user and token.

    Options of `vrelay serve` that are given are written; the questions are about the others that
    matter.
    """
    console = Console("relay")
    if not yes and not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", "say --yes, and options for the rest")
    is_free = overwrite or not file.exists()
    if not is_free and not yes:
        is_free = click.confirm(f"{file} is there already. Write it anew?", err=True)
    if not is_free:
        raise UsageError(f"{file} is there already", "add --overwrite, or --file ANOTHER")
    said = {
        each.name: context.params[each.key]
        for each in SETTINGS
        if context.get_parameter_source(each.key) is ParameterSource.COMMANDLINE
    }
    values = said if yes else _Questions(said).ask()
    values.setdefault("listen", ALSO_IPV6 if socket.has_dualstack_ipv6() else EVERYWHERE)
    if "state-dir" not in values and os.geteuid() == ROOT:
        values["state-dir"] = Path(STATE)
    full = {each.key: values.get(each.name, each.initial) for each in SETTINGS}
    for problem in problems_of(full):
        raise UsageError(problem.text, problem.hint)
    _write(file, settings_text(values))
    console.result("Settings:", str(file))
    if not is_open(full):
        _first_token(console, user, state_directory(full["state_dir"]))
    for line in next_steps(full, file):
        click.echo(line, err=True)


@dataclass(slots=True)
class _Questions:
    """What is asked of a person; `said` are the settings that are known, by their names."""

    said: dict[str, Any]

    def ask(self) -> dict[str, Any]:
        """The answers with the rest. Raises click.Abort."""
        self._domain()
        self._pages_host()
        self._certificate()
        if "open" not in self.said:
            text = "4. Who may share: those with a token of yours, or everybody?"
            answer = _choose(text, {"tokens": False, "everybody": True})
            self.said["open"] = answer
        self._history()
        return self.said

    def _domain(self) -> None:
        if "domain" not in self.said:
            text = "1. The domain below which shares get their URLs (shares.example.org)"
            self.said["domain"] = click.prompt(text, err=True).strip().rstrip(".").lower()

    def _pages_host(self) -> None:
        if "pages-host" not in self.said:
            text = (
                "2. A host outside of it for the relay's own pages (relay.example.com; - for none)"
            )
            answer = click.prompt(text, default="-", err=True).strip().lower()
            if answer != "-":
                self.said["pages-host"] = answer

    def _certificate(self) -> None:
        if {"cert", "acme"} & self.said.keys():
            return
        text = "3. The certificate: from Let's Encrypt, from files of yours, or made by the relay?"
        kind = _choose(text, {"acme": "acme", "files": "cert", "own": ""})
        if kind == "acme":
            text = "   The e-mail address which is told of problems (you agree to their terms)"
            self.said["acme"] = click.prompt(text, err=True).strip()
            text = "   A program that changes DNS records, for *.DOMAIN as well (- for none)"
            hook = click.prompt(text, default="-", err=True).strip()
            if hook != "-":
                self.said["acme-dns-hook"] = Path(hook).absolute()
        elif kind == "cert":
            text = "   The file with the certificate chain for DOMAIN and *.DOMAIN (PEM)"
            path = click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True)
            self.said["cert"] = click.prompt(text, type=path, err=True)
            text = "   The file with its private key"
            self.said["key"] = click.prompt(text, type=path, err=True)

    def _history(self) -> None:
        if {"history", "history-days"} & self.said.keys():
            return
        text = "5. How many days to keep who shared what, and who came (0: not at all)"
        days = click.prompt(text, type=click.IntRange(0, 3650), default=30, err=True)
        if days:
            self.said["history-days"] = days
        else:
            self.said["history"] = False


def _choose(text: str, answers: Mapping[str, Any]) -> Any:
    kinds = click.Choice(list(answers))
    return answers[click.prompt(text, type=kinds, default=next(iter(answers)), err=True)]


def _write(path: Path, text: str) -> None:
    """In one step; there is no secret in it. Raises VshareError."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.chmod(0o644)
        new.replace(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        hint = "as root, or with --file ANOTHER"
        raise VshareError(f"cannot write {path}: {reason}", hint) from error


def _first_token(console: Console, user: str, folder: Path) -> None:
    """Shown once, and kept nowhere but as a hash."""
    now = time.time()
    with account_book(folder) as book:
        if any(each.tokens for each in book.users()):
            console.detail("There are users with tokens already: `vrelay token list`.")
            return
        if user not in {each.name for each in book.users()}:
            book.create_user(user, now)
        made = book.create_token(user, Allowance(SHARE), now)
    console.result(f"Token of {user}:", made.text)
    console.detail("It is not shown again. Whoever shares types it at: vshare login RELAY")


def next_steps(values: Mapping[str, Any], file: Path) -> list[str]:
    """The DNS records that the relay needs, and what to type next."""
    domain, pages_host = values["domain"], values["pages_host"]
    names = [domain, f"*.{domain}", *([pages_host] if pages_host else [])]
    config = "" if file == PLACE else f" --config {file}"
    argument = "" if file == PLACE else f" {file}"
    return [
        "",
        "DNS records, with the address of this machine:",
        *(f"  {name}.  A     IPV4" for name in names),
        *(f"  {name}.  AAAA  IPV6" for name in names),
        "Then:",
        f"  vrelay check-config{argument}",
        f"  sudo vrelay service install{config}     (or: vrelay serve{config})",
        f"  vshare up --relay {domain}",
    ]
