"""Inside the connect VM, as PID 1: sets the network up, then keeps the agent running.

Its counterpart is `connect_vm`, which appends /etc/vshare/agent.json to the initramfs.
"""

import json
import os
import time

CONFIG = "/etc/vshare/agent.json"
# with the script's folder on the path, so that the agent's modules import each other
AGENT = ("python3", "-S", "-E", "-s", "-B", "/agent/__main__.pyc")
PAUSE = 1.0  # seconds before a dead agent is started again, so that a broken one does not spin


def run(*command: str) -> None:
    """Run a busybox command; what it complains about goes to the console."""
    os.spawnv(os.P_WAIT, "/bin/busybox", ("busybox", *command))


def configure() -> None:
    """Bring the interfaces up with the addresses of the configuration."""
    with open(CONFIG, encoding="utf-8") as file:
        config = json.load(file)
    interface = config.get("interface", "eth0")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "set", interface, "up")
    for address in config["addresses"]:
        run("ip", "address", "add", address, "dev", interface)


def reap(agent: int) -> None:
    """Wait until the agent has ended, burying every orphan on the way."""
    while True:
        process, status = os.wait()
        if process == agent:
            print(f"vshare-connect: the agent ended ({status})", flush=True)
            return


def main() -> None:
    """Configure, say so on the console, and run the agent for ever."""
    try:
        configure()
        print("vshare-connect: network ready", flush=True)
    except (OSError, ValueError, KeyError) as error:
        print(f"vshare-connect: no usable {CONFIG}: {error!r}", flush=True)
    while True:
        reap(os.spawnv(os.P_NOWAIT, "/usr/bin/python3", AGENT))
        time.sleep(PAUSE)


main()
