"""The systemd unit of a relay (systemd.service(5), systemd.exec(5)), and its user's. Pure."""

from __future__ import annotations

from pathlib import PurePath

UNIT = "vrelay.service"
USER = "vrelay"
STATE = PurePath("/var/lib/vrelay")
USAGE = 2  # the exit code of what cannot be meant, which it cannot be the next time either
STOP_MARGIN = 15  # seconds beyond the drain
WATCHDOG = 30  # seconds in which the event loop has to turn
FILES = 262_144  # file descriptors: a connection has one, a share 5 of them
_HOMES = ("/home/", "/root/", "/run/user/")

USER_TEXT = f"""\
# Written by `vrelay service install` (sysusers.d(5)).
u {USER} - "relay of vshare" {STATE} -
"""
_TEMPLATE = """\
# Written by `vrelay service install`; `vrelay service uninstall` removes it.
[Unit]
Description=vshare relay
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
User={user}
{state}UMask=0077
WorkingDirectory=/
Environment=XDG_STATE_HOME=/var/lib
ExecStart={command}
# The certificate is read again. An upgrade, without a connection lost, is:
# systemctl kill --kill-whom=main --signal=USR2 {unit}
ExecReload=/bin/kill -HUP $MAINPID
KillSignal=SIGTERM
TimeoutStopSec={stop}
WatchdogSec={watchdog}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={usage}
LimitNOFILE={files}

AmbientCapabilities=CAP_NET_BIND_SERVICE
CapabilityBoundingSet=CAP_NET_BIND_SERVICE
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={home}
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RemoveIPC=yes
LockPersonality=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit_text(python: str, file: PurePath, state: PurePath, drain: float) -> str:
    """The unit which serves with `python` what the settings in `file` say, with the state directory
    `state`, and waits `drain` seconds for who is there when it is stopped."""
    words = [python, "-P", "-m", "relay.cli", "serve", "--config", str(file)]
    return _TEMPLATE.format(
        user=USER,
        unit=UNIT,
        state=_state(state),
        command=" ".join(f'"{_quoted(word)}"' for word in words),
        stop=int(drain) + STOP_MARGIN,
        watchdog=WATCHDOG,
        usage=USAGE,
        files=FILES,
        home="read-only" if python.startswith(_HOMES) else "yes",
    )


def _state(state: PurePath) -> str:
    """What lets it write there, and nowhere else."""
    if state.parent == STATE.parent:
        return f"StateDirectory={state.name}\nStateDirectoryMode=0700\n"
    return f'ReadWritePaths="{_quoted(str(state)).replace("$$", "$")}"\n'


def _quoted(word: str) -> str:
    """What stands between double quotes: no escapes, specifiers or variables are in it."""
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return text.replace("$", "$$")
