"""Real services on the host beside alice: PostgreSQL, Redis, OpenSSH, git, vim, tmux.

They listen on the host's LAN address under their usual ports. What the machine has not
installed is left out; `start` returns what is there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from tunnel.errors import VshareError

if TYPE_CHECKING:
    from tests.lab.host import Host

PORTS = {"ssh": 22, "postgresql": 5432, "redis": 6379, "git": 9418}
READY_WITHIN = 30.0  # seconds; PostgreSQL's initdb takes 2 to 5 of them
POLL = 0.05  # seconds
DATA = "/run/services"  # on the host's tmpfs: gone with it, and readable for the user postgres
REPOSITORY = f"{DATA}/git/project.git"
POSTGRESQL_PROGRAMS = "/usr/lib/postgresql/*/bin/postgres"


def start(host: Host) -> dict[str, int]:
    """Start all that is installed; returns name -> port of what listens now.

    The SSH server takes the key `host.home/.ssh/id_ed25519`, user root. PostgreSQL: user postgres,
    no password. git: project.git over git:// and SSH. Raises VshareError when one does not start.
    """
    host.run(["install", "-d", "-m", "755", DATA])
    with ThreadPoolExecutor(len(_STARTERS)) as pool:
        started = list(pool.map(lambda starter: starter(host), _STARTERS.values()))
    listening = [name for name, yes in zip(_STARTERS, started, strict=True) if yes]
    for name in listening:
        _wait_for(host, name)
    return {name: PORTS[name] for name in listening}


def _wait_for(host: Host, name: str) -> None:
    """Wait until the port listens, as /proc/net/tcp of the host's process 1 shows it."""
    wanted = f":{PORTS[name]:04X}"
    deadline = time.monotonic() + READY_WITHIN
    while True:
        tables = [Path(f"/proc/{host.pid}/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
        rows = [row.split() for table in tables for row in table.splitlines()[1:]]
        if any(row[1].endswith(wanted) and row[3] == "0A" for row in rows):  # LISTEN
            return
        if time.monotonic() > deadline:
            log = host.folder / "log" / f"{name}.txt"
            words = log.read_text().strip()[-400:] if log.exists() else "no output"
            raise VshareError(f"{host.name}: {name} did not start: {words}")
        time.sleep(POLL)


def _spawn(host: Host, name: str, command: list[str]) -> None:
    with (host.folder / "log" / f"{name}.txt").open("w") as output:
        host.popen(command, stdout=output, stderr=output)


def _ssh(host: Host) -> bool:
    program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        return False
    folder = host.home / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    for key in ("id_ed25519", "host_ed25519"):
        host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)])
    shutil.copy(folder / "id_ed25519.pub", folder / "authorized_keys")
    settings = {
        "HostKey": folder / "host_ed25519",
        "AuthorizedKeysFile": folder / "authorized_keys",
        "PidFile": "none",
        "UsePAM": "no",
        "StrictModes": "no",
        "PermitRootLogin": "prohibit-password",
        "SetEnv": f"HOME={host.home} TMUX_TMPDIR={host.tmp} LANG=C.UTF-8",
        "Subsystem": "sftp internal-sftp",
    }
    lines = [f"{name} {value}\n" for name, value in settings.items()]
    (folder / "sshd_config").write_text("".join(lines))
    _spawn(host, "ssh", [program, "-D", "-e", "-f", str(folder / "sshd_config")])
    return True


def _postgresql(host: Host) -> bool:
    found = sorted(Path("/").glob(POSTGRESQL_PROGRAMS.lstrip("/")))
    if not found:
        return False
    programs, data = found[-1].parent, f"{DATA}/postgresql"
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    host.run(["install", "-d", "-o", "postgres", "-m", "700", data])
    host.run(["chown", "postgres", "/run/postgresql"])
    initdb = [str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "postgres"]
    host.run([*as_postgres, *initdb, "--no-sync", "--locale=C.UTF-8"], cwd=Path("/"))
    host.run(["sh", "-c", f"echo 'host all all all trust' >> {data}/pg_hba.conf"])
    settings = [f"listen_addresses={host.ip}", "fsync=off", "shared_buffers=16MB"]
    options = [word for setting in settings for word in ("-c", setting)]
    command = [*as_postgres, str(programs / "postgres"), "-D", data, *options]
    _spawn(host, "postgresql", command)
    return True


def _redis(host: Host) -> bool:
    if shutil.which("redis-server") is None:
        return False
    settings = ["--bind", host.ip, "127.0.0.1", "--protected-mode", "no", "--save", ""]
    _spawn(host, "redis", ["redis-server", *settings, "--dir", DATA])
    return True


def _git(host: Host) -> bool:
    if shutil.which("git") is None:
        return False
    host.run(["git", "init", "-q", "--bare", "-b", "main", REPOSITORY])
    work = host.tmp / "project"
    identity = ["-c", "user.name=lab", "-c", "user.email=lab@services.test"]
    host.run(["git", "clone", "-q", REPOSITORY, str(work)])
    (work / "README").write_text("a repository on a host of the lab\n")
    host.run(["git", "add", "README"], cwd=work)
    host.run(["git", *identity, "commit", "-q", "-m", "begin"], cwd=work)
    host.run(["git", "push", "-q", "origin", "HEAD:main"], cwd=work)
    options = ["--reuseaddr", "--export-all", "--enable=receive-pack"]
    folder = f"{DATA}/git"
    _spawn(host, "git", ["git", "daemon", *options, f"--base-path={folder}", folder])
    return True


_STARTERS: dict[str, Callable[[Host], bool]] = {
    "ssh": _ssh,
    "postgresql": _postgresql,
    "redis": _redis,
    "git": _git,
}
