"""What an operator can set: one table, from which flags, environment, file and docs follow.

Another setting is another row (and a field of `RelayConfig`, which has its default), and after
that `python -m relay.settings_docs > docs/relay-settings.md`. Nothing else names it: `vrelay serve`
has the flag `--NAME`, the environment VRELAY_NAME, and relay.toml the key NAME; flags count before
the environment, and that before the file. A secret is never a value, but the path of a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import click

from relay.accounts.limit_options import OPTIONS
from relay.config import DEFAULT_PORT, HistoryConfig, RelayConfig

PREFIX = "VRELAY_"  # of the environment's variables
READABLE = click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True)
FOLDER = click.Path(path_type=Path, file_okay=False)
PROGRAM = click.Path(
    path_type=Path, exists=True, dir_okay=False, executable=True, resolve_path=True
)
PORT = click.IntRange(1, 65_535)
MAX_HISTORY_DAYS = 3_650  # ten years; what is too much goes sooner

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row. `kind` is how its value is read and checked, `field` that of RelayConfig which gets
    it as it is and has its default; without one `config_of` makes something of it.

    `several`: it may be given again (a list in the file). `off`: it is true or false, or as if
    not said, and that is the flag for false. `secret`: the file that it names is read by its owner
    alone. `extra`: what needs saying in the docs alone.
    """

    name: str
    help: str
    kind: click.ParamType[Any] | type = str
    default: object = None
    field: str = ""
    metavar: str | None = None
    several: bool = False
    off: str = ""
    secret: bool = False
    extra: str = ""

    @property
    def key(self) -> str:
        """What the value is called in Python."""
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        """The environment's."""
        return PREFIX + self.key.upper()

    @property
    def flag(self) -> str:
        """The command line's, without what says the opposite."""
        return f"--{self.name}"

    @property
    def is_switch(self) -> bool:
        """Whether it is true or false."""
        return bool(self.off)

    @property
    def initial(self) -> Any:
        """The value when nothing is said."""
        return _DEFAULTS[self.field] if self.field else self.default

    def option(self) -> Callable[[Command], Command]:
        """The option of a command."""
        if self.is_switch:
            return click.option(
                f"{self.flag}/{self.off}",
                self.key,
                default=self.initial,
                envvar=self.variable,
                help=self.help,
            )
        return click.option(
            self.flag,
            self.key,
            type=self.kind,
            default=self.initial,
            show_default=self.initial not in (None, ""),
            metavar=self.metavar,
            multiple=self.several,
            envvar=self.variable,
            help=self.help,
        )


_DEFAULTS = {each.name: each.default for each in fields(RelayConfig) if each.default is not MISSING}

SETTINGS: tuple[Setting, ...] = (
    Setting(
        name="listen",
        metavar="HOST:PORT",
        default=(f"127.0.0.1:{DEFAULT_PORT}",),
        several=True,
        help="Where to listen; 0.0.0.0:443 or [::]:443 for everybody. May be given again: :80 as"
        " well.",
    ),
    Setting(
        name="domain",
        field="domain",
        help="Shares get the URLs NAME.DOMAIN; point DOMAIN and *.DOMAIN here.",
    ),
    Setting(
        name="pages-host",
        metavar="HOST",
        field="pages_host",
        help="The one name with pages of the relay's own; point it here, too. Best where no"
        " cookie can reach both: not under one registered domain with DOMAIN.",
    ),
    Setting(
        name="public-port",
        kind=PORT,
        field="public_port",
        help="The port that URLs show, when it is not the one listened on.",
    ),
    Setting(
        name="cert",
        kind=READABLE,
        field="certificate",
        help="Certificate chain (PEM) for DOMAIN and *.DOMAIN; without it one is made and kept.",
    ),
    Setting(
        name="key",
        kind=READABLE,
        field="key",
        secret=True,
        help="Private key (PEM) of --cert, when it is in another file.",
    ),
    Setting(
        name="acme",
        metavar="EMAIL",
        help="Get the certificate from Let's Encrypt, whose terms you agree to, and renew it;"
        " EMAIL is told of problems. For DOMAIN alone (they look at its port 80), unless there is a"
        " hook.",
    ),
    Setting(
        name="acme-dns-hook",
        metavar="PROGRAM",
        kind=PROGRAM,
        help="Changes DNS records, so that the certificate is for *.DOMAIN too: called with present"
        " or cleanup, the name and the value of a TXT record (as by lego's exec provider).",
    ),
    Setting(
        name="acme-server",
        metavar="URL",
        help="The ACME directory of another authority than Let's Encrypt.",
    ),
    Setting(
        name="state-dir",
        kind=FOLDER,
        help="Where names, accounts and self-made keys are kept.",
        extra="`/var/lib/vrelay` under systemd, else `~/.local/state/vrelay`",
    ),
    Setting(
        name="drain",
        metavar="SECONDS",
        kind=click.FloatRange(0, 86_400),
        default=10.0,
        help="How long who is there is served after SIGTERM, or after another took over; shares are"
        " sent elsewhere at once.",
    ),
    Setting(
        name="open",
        off="--accounts",
        help="Everybody may share here, or who has a token (see `vrelay token`). It is open where"
        " it listens on loopback alone, else not, unless you say so.",
    ),
    *(
        Setting(
            name=name,
            kind=kind,
            metavar=kind.name,
            help=f"{text} Of each token that has no such limit of its own; where there are no"
            " accounts, of the shares from one address.",
        )
        for name, kind, text in OPTIONS
    ),
    Setting(
        name="resolver",
        metavar="HOST:PORT",
        default=(),
        several=True,
        help="A DNS server that is asked about shares' own domains, by its address; may be given"
        " again. Without any, those of the system.",
    ),
    Setting(
        name="metrics",
        metavar="HOST:PORT",
        help="Where Prometheus finds /metrics, and others /healthz and /readyz: 127.0.0.1:9743, or"
        " an address of a network that the operator's programs alone are in.",
    ),
    Setting(
        name="log-format",
        kind=click.Choice(["text", "json"]),
        field="log_format",
        help="Log each event to stderr as a line of this form; else there are only warnings.",
    ),
    Setting(
        name="history",
        off="--no-history",
        default=True,
        help="Keep who shared what and when, and who came, for `vrelay history` and the pages.",
    ),
    Setting(
        name="history-days",
        kind=click.IntRange(1, MAX_HISTORY_DAYS),
        metavar="DAYS",
        default=HistoryConfig().days,
        help="How long that is kept after its end.",
    ),
    Setting(
        name="history-sources",
        off="--no-history-sources",
        default=True,
        help="Keep the visitors' addresses in it, or leave them out, of what is logged as well.",
    ),
    Setting(
        name="cluster",
        metavar="URL",
        help="The Redis (or Valkey) of the relays that are to be one with this one, redis://HOST/0"
        " or rediss://; a password is not in it.",
    ),
    Setting(
        name="cluster-key",
        kind=READABLE,
        secret=True,
        help="File with what all relays of the cluster know, and nobody else: 32 characters at"
        " least, as from `openssl rand -hex 32`.",
    ),
    Setting(
        name="cluster-login",
        kind=READABLE,
        secret=True,
        help="File with the password of --cluster's Redis.",
    ),
    Setting(
        name="cluster-ca",
        kind=READABLE,
        help="Certificate (PEM) of who vouches for a Redis at rediss://, if that is no public"
        " authority.",
    ),
    Setting(
        name="node-address",
        metavar="HOST:PORT",
        help="Where this relay takes visitors that came to others of the cluster: an address that"
        " those reach, and a port that nobody else needs.",
    ),
    Setting(
        name="own-address",
        metavar="HOST:PORT",
        help="Where clients reach this relay of a cluster and none of the others, if that is not"
        " where it listens.",
    ),
)

BY_NAME = {setting.name: setting for setting in SETTINGS}
assert not {each.field for each in SETTINGS if each.field} - _DEFAULTS.keys()


def setting_options(command: Command) -> Command:
    """Gives `command` the options of all settings; it gets each by its `key`."""
    for setting in reversed(SETTINGS):
        command = setting.option()(command)
    return command
