"""A share while it runs: its parts, and what is done to all of them together."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field, replace

from tunnel.address import RelayAddress
from tunnel.errors import VshareError
from tunnel.identity import load_public_der
from tunnel.names import ShareName
from vshare.dashboard.server import Dashboard
from vshare.expiry import Expiry
from vshare.guest_page.page import GuestPage
from vshare.guest_page.visitors import Visitor
from vshare.news import Newsroom
from vshare.qr import pick
from vshare.reception import Reception
from vshare.registration import Registration
from vshare.relay_link import RelayLink
from vshare.server import ShareServer
from vshare.ssh_sharing import SshSharing
from vshare.streams import Streams
from vshare.together.setup import Together
from vshare.web.access_setup import Access
from vshare.web.site_certificate import SiteCertificate

MINUTE = 60.0  # seconds


@dataclass(slots=True)
class LiveShare:
    """`machine` is what it is called; `stopped` is set when another terminal ends the share."""

    name: ShareName
    machine: str
    relay: RelayAddress
    registration: Registration
    newsroom: Newsroom
    server: ShareServer
    reception: Reception
    streams: Streams
    ssh: SshSharing | None
    expiry: Expiry
    access: Access = field(default_factory=Access)  # of visitors of the URL
    browsers: SiteCertificate | None = None  # what they are shown, where their TLS ends here
    dashboard: Dashboard | None = None
    guest_page: GuestPage | None = None
    together: Together | None = None
    since: float = field(default_factory=time.time)  # seconds since the epoch
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    extended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.expiry.warn = self._warn

    @property
    def link(self) -> RelayLink:
        """To the relay, under the present name."""
        return self.registration.link

    @property
    def url(self) -> str:
        """The public URL, empty where there is none: where there are both, the encrypted one, if
        browsers open it without a warning."""
        return pick(self.link.registered.url, self.link.registered.https_url)

    @property
    def visitors(self) -> list[Visitor]:
        """Who is in by the guest page, in a browser."""
        return self.guest_page.visitors.all() if self.guest_page is not None else []

    @property
    def connect(self) -> str:
        """What `vconnect` is given."""
        return f"{self.name}@{self.relay}"

    async def publish(self) -> None:
        """Let the gateway open the sites of the public URL."""
        key = load_public_der(self.link.gateway_key)
        issued = self.reception.issue_gateway(key)
        certificate, ca = (ssl.DER_cert_to_PEM_cert(each) for each in issued)
        await self.link.publish(self.streams.visits.sites.labels, certificate, ca)

    async def publish_sites(self, labels: list[str]) -> None:
        """There are other sites than before."""
        if self.server.tls_door is not None:
            for text in self.server.tls_door.set_sites(self.name, labels):
                self.newsroom.tell("notice", text, warning=True)
        await self.link.publish_sites(labels)

    async def extend(self, at: float) -> float:
        """Let it end at `at` (seconds since the epoch), or earlier if the relay grants less."""
        granted = await self.link.extend(at)
        self.expiry.extend(granted)
        text = f"the share ends at {clock(granted)} now"
        self.newsroom.tell("extended", text, expires_at=granted)
        self.server.notify("extended", text, granted - time.time())
        self.extended.set()
        return granted

    async def extend_ssh(self) -> None:
        """Run until cancelled: the key in the machine lasts as long as the share. That takes the
        time that the machine takes, so nobody waits for it."""
        while self.ssh is not None:
            await self.extended.wait()
            self.extended.clear()
            try:
                await self.ssh.extend(self.expiry.at)
            except VshareError as error:
                self.newsroom.tell(
                    "notice",
                    f"the SSH key in the machine still ends when it was to: {error.text}",
                    warning=True,
                )

    def code_changed(self) -> None:
        """There is a new code, for this share and those beside it."""
        self.reception.refuse_waiting()
        self.server.rotated()
        self.newsroom.tell("code-rotated", "the share has a new code")

    def machine_moved(self, address: str) -> None:
        """It was found at another address, by which guests may call it too."""
        policy = self.streams.policy
        self.streams.policy = replace(policy, names=policy.names | {address.lower()})
        self.newsroom.tell("notice", f"The machine's address is now {address}")

    def _warn(self, left: float) -> None:
        minutes = max(1, round(left / MINUTE))
        unit = "minute" if minutes == 1 else "minutes"
        text = f"the share ends in {minutes} {unit}, at {clock(time.time() + left)}"
        self.newsroom.tell("expires", f"{text} (vshare extend)", seconds=round(left))
        self.server.notify("expires", text, left)


def clock(at: float) -> str:
    """The time of day, the sharer's, of `at` (seconds since the epoch)."""
    form = "%H:%M" if at - time.time() < 86_400 else "%Y-%m-%d %H:%M"
    return time.strftime(form, time.localtime(at))
