"""`vconnect`: join a share, offer it as SOCKS5 and as a static IP, until it ends."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import platformdirs

from connect_vm import vm
from connect_vm.addresses import around, parse_static_ip
from connect_vm.agent_link import AgentLink, the_machine
from connect_vm.join_share import join_share
from connect_vm.machines import Machine, Machines, host_of
from connect_vm.notices import Notices
from connect_vm.opener import Opener
from connect_vm.own_names import OwnNames
from connect_vm.relay_way import RelayWay
from connect_vm.socks_server import SocksServer
from connect_vm.together import together
from connect_vm.ways import Guest, Ways, guest_client, networks_for
from tunnel.address import ConnectLine, RelayAddress, parse_connect_line, parse_relay
from tunnel.alerts import AccessLostError, ShareNotFoundError
from tunnel.client import Client, Dial
from tunnel.console import Console, Interrupt
from tunnel.errors import UsageError, VshareError
from tunnel.flows import Datagrams
from tunnel.identity import Identity, PrivateKey
from tunnel.lan import Place, serialize_place
from tunnel.names import JoinCode, ShareName, parse_code, parse_name
from tunnel.prompt import ask_hidden

BOOT_TIMEOUT = 90.0  # seconds; pure emulation on a busy host took 30
LOOK_EVERY = 0.5  # seconds
DRAIN_WITHIN = 3.0  # seconds at Ctrl-C, which is to have cleaned up everything within 5
GONE_AFTER = 8.0  # seconds that a relay which lost its state may not know a share; it is back in 2
MAX_CODE_FILE = 256  # bytes
MAX_MACHINES = 16  # of one group: what one connect VM has addresses for, and what vshare shares
MAX_SHOWN = 12  # ports named on the screen
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    line: str
    relay: str | None = None
    code_file: Path | None = None
    static_ip: bool = True
    ip: str | None = None
    socks_host: str = "127.0.0.1"
    socks_port: int = 0
    driver: str = "libvirt"
    guest: str | None = None
    ssh_password_file: Path | None = None
    ssh_arguments: tuple[str, ...] = ()
    relay_only: bool = False
    only: bool = False  # this machine, and none of those that are shared together with it
    localhost: bool = True  # whether what is shared by name gets a local port by itself
    maps: tuple[tuple[int, int], ...] = ()  # a port of the machine's, and the local one for it


class GroupMember(msgspec.Struct):
    """A share beside this one, which the same code opens."""

    name: str
    machine: str = ""


class ShareInfo(msgspec.Struct):
    """What the share says about itself (docs/protocol.md 8.3); unknown members are ignored."""

    machine: str = ""
    shared: str = ""
    ssh: str | None = None  # "password" or "open" when there is a key to be had
    ssh_once: bool = False
    group: list[GroupMember] = []


class _Listener(msgspec.Struct):
    protocol: str
    port: int
    process: str = ""


class _SharedPorts(msgspec.Struct):
    listening: list[_Listener] = []


async def connect(options: Options, console: Console, interrupt: Interrupt) -> None:
    """Connect until Ctrl-C or until the share has gone. Raises VshareError."""
    line = parse_connect_line(options.line)
    _relay(options, line)  # before a code is asked for
    if options.ip is not None:
        if not options.static_ip:
            raise UsageError(
                "--static-ip and --disable-static-ip contradict each other", "leave one out"
            )
        around(parse_static_ip(options.ip))  # before a code is asked for and an attempt is spent
    console.step(f"Connecting to: {line.name}")
    code = await _code(options, line)
    dial, identity = await _join(options, line, code, console)
    async with contextlib.AsyncExitStack() as stack:
        first, info = await _enter(stack, options, line, (dial, identity), console)
        machines = [first]
        for member in () if options.only else info.group[: MAX_MACHINES - 1]:
            beside = console.beside(member.machine or member.name)
            try:
                other = ConnectLine(parse_name(member.name), relay=line.relay)
                console.step(f"Connecting to: {other.name}")
                joined = await _join(options, other, code, beside, identity.key)
                machine, _ = await _enter(stack, options, other, joined, beside)
                machines.append(machine)
            except VshareError as error:
                beside.warn(f"this machine is left out: {error.text}")
        socks = await stack.enter_async_context(_socks(options, machines))
        await _stay(options, machines, socks, console, interrupt)


async def _enter(
    stack: contextlib.AsyncExitStack,
    options: Options,
    line: ConnectLine,
    joined: tuple[Dial, Identity],
    console: Console,
) -> tuple[Machine, ShareInfo]:
    """Connect to a share that was joined, for as long as `stack`. Raises VshareError."""
    dial, identity = joined
    notices = Notices(console, line.relay)
    watch = Watch(line.name, console, notices)
    names = OwnNames(line.name)
    notices.on_renamed = names.add_share
    guest = Guest(identity, line.name)
    ways = Ways(dial, guest, watch.way_changed, networks_for(relay_only=options.relay_only))
    client = await stack.enter_async_context(guest_client(ways, guest, watch.changed, notices))
    info = await _describe(client, line, console)
    maps = dict(options.maps) if line.name == parse_connect_line(options.line).name else {}
    following = await stack.enter_async_context(
        together(client, line.name, console, maps, automatic=options.localhost)
    )
    watch.on_way = following.again
    names.add(info.machine)
    return Machine(line.name, info.machine, client, names, notices, console), info


def _socks(options: Options, machines: Sequence[Machine]) -> SocksServer:
    """For all of them. One needs no looking up which is meant."""
    if len(machines) == 1:
        opener: Opener = machines[0].client
        names = machines[0].names
    else:
        opener, names = Machines(machines), OwnNames()
    return SocksServer(opener, options.socks_host, options.socks_port, names)


async def join(options: Options, line: ConnectLine, console: Console) -> tuple[Dial, Identity]:
    """Ask for the code and join: the way to the share, and who we are there. Raises VshareError."""
    return await _join(options, line, await _code(options, line), console)


async def _join(
    options: Options,
    line: ConnectLine,
    code: JoinCode,
    console: Console,
    key: PrivateKey | None = None,
) -> tuple[Dial, Identity]:
    """`key`: the one that another share of the same sharer's knows already."""
    dial = RelayWay(_relay(options, line))

    def waiting(text: str) -> None:
        console.step("Waiting for the sharer to let you in...")
        console.event(event="waiting", text=text)
        if text:
            console.detail(text)

    guest = options.guest or _guest_name()
    return dial, await join_share(dial, line.name, code, guest, waiting, key=key)


def _relay(options: Options, line: ConnectLine) -> RelayAddress:
    """The relay in the connect line, on the command line, or in the environment."""
    if line.relay is not None:
        return line.relay
    text = options.relay or os.environ.get("VSHARE_RELAY")
    if not text:
        raise UsageError(
            f"which relay has the share {line.name!r}?",
            f"use the whole connect line, {line.name}@HOST:PORT#..., or --relay, or $VSHARE_RELAY",
        )
    return parse_relay(text)


async def _code(options: Options, line: ConnectLine) -> JoinCode:
    """The join code: from the line, from a file, or asked for without an echo."""
    if line.code is not None:
        return line.code
    if options.code_file is not None:
        try:
            with options.code_file.open("rb") as file:
                text = file.read(MAX_CODE_FILE).decode("ascii", "replace")
        except OSError as error:
            raise UsageError(
                f"cannot read the code from {options.code_file}: {(error.strerror or '').lower()}",
                "put the three words into a file and name it with --code-file FILE",
            ) from error
        return parse_code(text)
    return parse_code(await ask_hidden(f"Code of {line.name}: ", "use --code-file FILE"))


def _guest_name() -> str:
    """Who is called what on the sharer's screen: the local user and host."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return "guest"


async def share_info(client: Client) -> ShareInfo:
    """What the share says about itself. Raises VshareError."""
    return _decode(await client.call("share-info"), ShareInfo)


async def _describe(client: Client, line: ConnectLine, console: Console) -> ShareInfo:
    """Tell what is shared, in the share's words."""
    info = await share_info(client)
    ports = _decode(await client.call("shared-ports"), _SharedPorts)
    console.detail(f"Machine: {info.machine}; you can open {info.shared}")
    shown = [
        f"{each.port}/{each.protocol}{' ' + each.process if each.process else ''}"
        for each in ports.listening[:MAX_SHOWN]
    ]
    if shown:
        console.detail("Listening there: " + ", ".join(shown))
    if info.ssh is not None:
        name = f"{line.name}@{line.relay}" if line.relay else line.name
        console.detail(f"SSH is shared: vconnect --ssh {name}")
    return info


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise VshareError(f"the share's answer was not understood: {error}") from error


class Watch:
    """Tells the user when the way to the share is lost and when it is back."""

    def __init__(self, name: ShareName, console: Console, notices: Notices) -> None:
        self._name = name
        self._console = console
        self._notices = notices
        self._was_up = False
        self.on_way: Callable[[], None] = lambda: None

    def changed(self, error: VshareError | None) -> None:
        """See Client's on_state."""
        if error is None:
            if self._was_up:
                self._console.step(f"The connection to '{self._name}' is back.")
                self._console.event(event="back")
            self._was_up = True
            return
        if not self._was_up or self._notices.over.is_set():
            return
        self._console.warn(f"the connection to '{self._name}' is lost, trying again: {error.text}")
        self._console.event(event="lost", text=error.text)

    def way_changed(self, place: Place | None, why: str) -> None:
        """See Ways' told."""
        self.on_way()
        if place is not None:
            self._console.step(f"Streams go directly to {place[0]}, not through the relay.")
            self._console.event(event="path", value="direct", address=serialize_place(place))
        elif not self._notices.over.is_set():
            self._console.step(f"Streams go through the relay again: {why}.")
            self._console.event(event="path", value="relay", text=why)


async def _stay(
    options: Options,
    machines: Sequence[Machine],
    socks: SocksServer,
    console: Console,
    interrupt: Interrupt,
) -> None:
    host, port = socks.address
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    async with contextlib.AsyncExitStack() as stack:
        ips: list[str] = []
        if options.static_ip:
            ips = await _start_vm(options, machines, console, stack)
            for machine, ip in zip(machines, ips, strict=True):
                machine.names.add(ip)
            console.step("Connect is running!")
        else:
            console.step("Connect is running! There is no static IP, as was asked for.")
        console.result("SOCKS address:", address, event="socks", address=address)
        for machine, ip in zip(machines, ips, strict=False):
            machine.console.result("Machine IP:", ip, event="machine", ip=ip)
        if len(machines) > 1:
            _tell_apart(machines, console)
        way = machines[0].client.way
        console.detail(f"Streams go {'directly' if way == 'direct' else 'through the relay'}.")
        console.event(event="running", path=way)
        console.step("")
        console.step("Use the machine's IP, or a program that knows SOCKS5 proxies.")
        console.step("Press Ctrl-C to stop connection.")
        interrupt.serving = True
        console.waits_for_reader = False
        await _until_all_end(machines, interrupt)
        console.step("Disconnecting...")
        async with asyncio.TaskGroup() as group:
            for machine in machines:
                group.create_task(_drain(machine.client, machine.console), name="drain")
    for number, machine in enumerate(machines):
        lost = 0 if number else socks.dropped
        _tell_of_datagrams(machine.client.flows.count, lost, machine.console)
    console.event(event="ended", reason="interrupted")


def _tell_apart(machines: Sequence[Machine], console: Console) -> None:
    """What each is called, for programs that use SOCKS."""
    for machine in machines:
        console.detail(f"{machine.name} is also {machine.share}, by SOCKS.")


async def _until_all_end(machines: Sequence[Machine], interrupt: Interrupt) -> None:
    """Until Ctrl-C. Raises VshareError when the last of the shares has gone for good."""
    left = len(machines)

    async def one(machine: Machine) -> None:
        nonlocal left
        try:
            await until_the_end(machine.client, interrupt, machine.notices)
        except VshareError as error:
            left -= 1
            if not left:
                raise
            machine.console.warn(error.text)

    async with asyncio.TaskGroup() as group:
        for machine in machines:
            group.create_task(one(machine), name=f"end of {machine.share}")


async def _drain(client: Client, console: Console) -> None:
    """What programs sent before they closed still arrives, where that is a matter of seconds."""

    def slow(count: int) -> None:
        text = f"Waiting for the machine to read what {_programs(count)} sent before closing"
        console.step(f"{text}, up to {DRAIN_WITHIN:g} s. Ctrl-C ends it at once.")
        console.event(event="draining", streams=count)

    lost = await client.drain(DRAIN_WITHIN, slow)
    if lost:
        console.warn(f"not all that {_programs(lost)} sent before closing has arrived")
        console.event(event="cut-off", streams=lost)


def _programs(count: int) -> str:
    return "a program" if count == 1 else f"{count} programs"


def _tell_of_datagrams(count: Datagrams, dropped_by_socks: int, console: Console) -> None:
    """What became of the datagrams, if there were any; with -v also when none was lost."""
    dropped = count.dropped + dropped_by_socks
    if not (count.sent or count.received or dropped):
        return
    if console.verbose:
        console.detail(f"Datagrams: {count.sent} sent, {count.received} received.")
    if dropped:
        were = "datagram was" if dropped == 1 else "datagrams were"
        console.step(f"{dropped} {were} dropped: the way was too slow, or lost for a while.")
    console.event(event="datagrams", sent=count.sent, received=count.received, dropped=dropped)


async def _start_vm(
    options: Options,
    machines: Sequence[Machine],
    console: Console,
    stack: contextlib.AsyncExitStack,
) -> list[str]:
    """Boot the connect VM, which stays as long as `stack`; the machines' static IPs."""
    console.step("Starting a VM for a static connect IP.")
    wish = vm.Wish(options.ip, len(machines), _console_log(console), console.detail)
    several = len(machines) > 1
    client = machines[0].client
    with console.busy("the connect VM boots"):
        machine = await stack.enter_async_context(vm.run(options.driver, wish))
        link = AgentLink(
            str(machine.control),
            machine.port,
            machine.secret,
            Machines(machines) if several else client,
            on_dropped=client.flows.lost_outside,
            host_of=host_of if several else the_machine,
        )
        await stack.enter_async_context(link)
        await link.ready(BOOT_TIMEOUT)
    console.detail("The machine is booted and ready!")
    return list(map(str, machine.static_ips))


def _console_log(console: Console) -> Path | None:
    """With -v, where the VM's serial console goes: kept, since it is wanted after a failure."""
    if not console.verbose:
        return None
    path = platformdirs.user_log_path("vshare", ensure_exists=True) / "connect-vm.log"
    console.detail(f"The VM's console is written to {path}")
    return path


async def until_the_end(client: Client, interrupt: Interrupt, notices: Notices) -> None:
    """Until Ctrl-C. Raises VshareError when the share has gone for good, in its own words if it
    said so: a relay that was started again does not know its shares at first, so its word is
    waited out for a while."""
    gone_since: float | None = None
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await interrupt.stopped.wait()
                return
        if notices.error is not None:
            raise notices.error
        error = client.state
        if isinstance(error, AccessLostError):
            raise _gone(error)
        if not isinstance(error, ShareNotFoundError):
            gone_since = None
        elif gone_since is None:
            gone_since = loop.time()
        elif loop.time() - gone_since >= GONE_AFTER:
            raise _gone(error)


def _gone(error: VshareError) -> VshareError:
    return VshareError(f"the connection to the share has been lost: {error.text}", error.hint)
