"""What is wrong with a relay's settings, or will be: all of it, before it is started."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from relay.certificate import ServerIdentity, read_identity
from relay.certificate_files import dates, fault_of_dates
from relay.handover import FILE as HANDOVER
from relay.listening import listen
from relay.settings import SETTINGS
from relay.settings_file import Problem, SettingsFile, converted_text, unknown_variables
from relay.settings_rules import config_of, is_open, parse_listen, problems_of
from tunnel.errors import VshareError

ENDS_SOON = datetime.timedelta(days=14)  # whoever renews certificates has done so by then
HTTP_PORT = 80  # where authorities look
PRIVATE_KEY = b"PRIVATE KEY-----"  # of a PEM file that has one (RFC 7468)


def check(file: SettingsFile | None, state_dir: Path) -> Iterator[Problem]:
    """All problems of the settings that `file` and the environment say."""
    yield from unknown_variables()
    said = _said(file)
    if file is not None:
        yield from _file(file)
        yield from file.problems
    yield from said.problems
    wrong = list(problems_of(said.values))
    yield from wrong
    if said.problems or wrong or (file is not None and file.problems):
        return  # what depends on all of them is not looked at
    try:
        names = config_of(said.values, state_dir).names
    except VshareError as error:
        yield Problem(error.text, error.hint)
        return
    yield from _certificate(said.values, names)
    yield from _secrets(said.values)
    yield from _ports(said.values, state_dir)
    yield from _state(state_dir)
    if is_open(said.values) and not _is_here_alone(said.values):
        text = "everybody who reaches this relay may share by it: open = true"
        yield Problem(text, "write open = false, and see `vrelay token`", "open", warning=True)


class _Said:
    """What counts, and what of the environment cannot."""

    def __init__(self, values: Mapping[str, Any], problems: list[Problem]) -> None:
        self.values, self.problems = values, problems


def _said(file: SettingsFile | None) -> _Said:
    values = {each.key: each.initial for each in SETTINGS}
    values |= file.values if file is not None else {}
    problems = []
    for setting in SETTINGS:
        text = os.environ.get(setting.variable)
        if text:
            try:
                values[setting.key] = converted_text(setting, text)
            except click.BadParameter as error:
                problems.append(
                    Problem(f"{setting.variable}: {error.message}", setting.help, setting.name)
                )
    return _Said(values, problems)


def _file(file: SettingsFile) -> Iterator[Problem]:
    status = file.path.stat()
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        text = "others than its owner can write it"
        yield Problem(text, f"chmod go-w {file.path}")
    if status.st_uid not in (0, os.geteuid()):
        text = f"it belongs to user {status.st_uid}, who decides over this relay"
        yield Problem(text, f"chown root {file.path}", warning=True)


def _certificate(values: Mapping[str, Any], names: list[str]) -> Iterator[Problem]:
    if values["cert"] is None:
        return
    try:
        identity = read_identity(values["cert"], values["key"])
    except VshareError as error:
        yield Problem(error.text, error.hint, "cert")
        return
    if fault := fault_of_dates(identity):
        text = f"the certificate in {values['cert']} {fault}"
        yield Problem(text, "put another there: shares do not register with it", "cert")
    elif _ends_soon(identity):
        text = f"the certificate in {values['cert']} ends soon ({dates(identity)})"
        yield Problem(text, "see why it was not renewed", "cert", warning=True)
    if lacking := identity.lacks(names):
        text = f"the certificate in {values['cert']} is not for {' and '.join(lacking)}"
        yield Problem(text, "browsers will warn of it there", "cert", warning=True)


def _ends_soon(identity: ServerIdentity) -> bool:
    return identity.ends - datetime.datetime.now(datetime.UTC) < ENDS_SOON


def _secrets(values: Mapping[str, Any]) -> Iterator[Problem]:
    for setting in SETTINGS:
        path = values[setting.key]
        if not isinstance(path, Path) or not path.is_file():
            continue
        if not (setting.secret or (setting.name == "cert" and _has_key(path))):
            continue
        if path.stat().st_mode & stat.S_IRWXO:
            text = f"everybody on this host can read {path}"
            yield Problem(text, f"chmod o= {path}", setting.name)


def _has_key(path: Path) -> bool:
    try:
        return PRIVATE_KEY in path.read_bytes()
    except OSError:
        return False


def _ports(values: Mapping[str, Any], state_dir: Path) -> Iterator[Problem]:
    places = [parse_listen(each) for each in values["listen"]]
    looks_at_http = values["acme"] is not None and values["acme_dns_hook"] is None
    if looks_at_http and HTTP_PORT not in {port for _, port in places}:
        text = "the authority looks at port 80, where nothing listens"
        hint = 'add "0.0.0.0:80" to listen, or lead port 80 here by other means'
        yield Problem(text, hint, "acme", warning=True)
    if (state_dir / HANDOVER).exists():
        return  # a relay has them now
    for place in places:
        try:
            listen(*place).close()
        except VshareError as error:
            hint = f"{error.hint}: the unit of `vrelay service install` has them"
            yield Problem(error.text, hint, "listen", warning=True)


def _is_here_alone(values: Mapping[str, Any]) -> bool:
    return is_open({**values, "open": None})


def _state(folder: Path) -> Iterator[Problem]:
    if not folder.exists():
        return  # it is made
    if not os.access(folder, os.W_OK | os.X_OK):
        text = f"this user cannot write the state directory {folder}"
        yield Problem(text, "the relay's own user has to", "state-dir", warning=True)
    elif folder.stat().st_mode & stat.S_IRWXO:
        text = f"everybody on this host can look into the state directory {folder}"
        yield Problem(text, f"chmod o= {folder}", "state-dir", warning=True)
