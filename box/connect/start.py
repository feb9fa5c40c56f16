"""Inside the connect VM, as PID 1: sets the network up, then keeps the agent running.

Its counterpart is `connect_vm`, which appends /etc/vshare/agent.conf to the initramfs.
"""

import marshal
import os
import sys
import time

CONFIG = "/etc/vshare/agent.conf"
AGENT = "/agent/__main__.py"  # present as bytecode
PYC_HEADER = 16  # bytes before the marshalled code
PAUSE = 1.0  # seconds before a dead agent is started again, so that a broken one does not spin


def run(*command: str) -> None:
    """Run a busybox command; what it complains about goes to the console."""
    os.spawnv(os.P_WAIT, "/bin/busybox", ("busybox", *command))


def configure() -> None:
    """Bring the interfaces up with the addresses of the configuration."""
    with open(CONFIG, encoding="utf-8") as file:
        config = {name: values for name, *values in map(str.split, file)}
    (interface,) = config["interface"]
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "set", interface, "up")
    for address in config["addresses"]:
        run("ip", "address", "add", address, "dev", interface)


def start_agent() -> int:
    """The process id of a new agent.

    Forked from this interpreter: a second one would take half a second to start under emulation.
    """
    process = os.fork()
    if process:
        return process
    try:
        sys.argv = [AGENT]
        sys.path.insert(0, os.path.dirname(AGENT))
        with open(AGENT + "c", "rb") as file:
            code = marshal.loads(file.read()[PYC_HEADER:])
        exec(code, {"__name__": "__main__", "__file__": AGENT, "__builtins__": __builtins__})
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


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
        reap(start_agent())
        time.sleep(PAUSE)


main()
