"""`vshare rename`: another name for a share that runs.

Guests come by the share's route and certificate, in which there is no name, so they stay, and so
does all that the machine runs for them. What does have the name in it is told of the new one here:
the relay first, since it may refuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from tunnel.console import Console
from tunnel.control_socket import ControlSocket, Handler, on
from tunnel.errors import UsageError, VshareError
from tunnel.names import ShareName, parse_name
from vshare import requests
from vshare.audit import AuditLog
from vshare.detach import rename_log
from vshare.guest_page.setup import page_url
from vshare.live_share import LiveShare
from vshare.look import Found
from vshare.notify import Notifier
from vshare.options import Options
from vshare.screen import Screen
from vshare.web.access_setup import rename_on_pages
from vshare.web.site_certificate import SiteCertificate
from vshare.web.site_rules import site_rules
from vshare.web.tls_door import TlsDoor, certificate_for, hosts_of

REGISTER_WITHIN = 5.0  # seconds; a terminal waits for all of it (tunnel/control_socket.py)
LEAVE_WITHIN = 2.0  # seconds for the relay to be told that the name before is given up


@dataclass(frozen=True, slots=True)
class Named:
    """What has the name of a share, besides what LiveShare knows."""

    log: AuditLog
    notifier: Notifier | None
    tls_door: TlsDoor | None
    is_detached: bool = False


class Renaming:
    """Gives `share` other names. `socket` is to be set before it is asked to."""

    def __init__(
        self, share: LiveShare, found: Found, options: Options, console: Console, named: Named
    ) -> None:
        self._share, self._found, self._options = share, found, options
        self._console, self._named = console, named
        self.turn = asyncio.Lock()  # held while the share gets another name
        self.socket: ControlSocket

    def table(self) -> Mapping[type[requests.Request], Handler]:
        """For the control socket."""
        return dict([on(requests.Rename, self.rename)])

    async def rename(self, request: requests.Rename) -> requests.Renamed:
        """See requests.Rename. Where it raises VshareError, nothing has changed."""
        share, name = self._share, parse_name(request.name)
        async with self.turn:
            before = share.name
            if name == before:
                raise UsageError(f"the share is called {name!r} already", "give another name")
            moved = self._moved_door(name)
            await self.socket.rename(name)
            try:
                async with asyncio.timeout(REGISTER_WITHIN):
                    await share.registration.rename(name)
            except BaseException as error:
                await self.socket.rename(before)
                if isinstance(error, TimeoutError):
                    raise _silent(share) from None
                raise
            self._is_renamed(before, name, moved)
            if share.link.registered.url and share.browsers is None:
                await share.publish()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LEAVE_WITHIN):
                    await share.registration.settled()
        return requests.Renamed(
            name=name,
            before=before,
            url=share.url,
            connect=share.connect,
            file=str(self._options.file or ""),
        )

    def _moved_door(self, name: ShareName) -> tuple[Mapping[str, str], SiteCertificate] | None:
        """The hosts of browsers whose TLS ends here, and the certificate for them. Raises
        VshareError."""
        wanted = self._options.passthrough
        if self._named.tls_door is None or wanted is None:
            return None
        sites, domain = self._share.streams.visits.sites, self._share.link.registered.domain
        hosts = hosts_of(sites, name, domain, self._share.link.own_domains.hosts)
        return hosts, certificate_for(hosts, wanted)

    def _is_renamed(
        self,
        before: ShareName,
        name: ShareName,
        moved: tuple[Mapping[str, str], SiteCertificate] | None,
    ) -> None:
        """The relay has it: so does all else, and people are told."""
        share, named, streams = self._share, self._named, self._share.streams
        share.name = name
        share.server.rename(name)
        # Who is in may still call the machine by the name before.
        streams.policy = dataclasses.replace(streams.policy, names=streams.policy.names | {name})
        self._rename_sites(name)
        if named.tls_door is not None and moved is not None:
            named.tls_door.move(*moved)
            share.browsers = named.tls_door.certificate
            for warning in named.tls_door.warnings(share.expiry.at):
                self._console.warn(warning)
        if named.notifier is not None:
            named.notifier.share = name
        named.log.rename(name)
        if named.is_detached:
            rename_log(before, name)
        text = f"the share is called {name} from now on, and no more {before}"
        share.newsroom.tell("renamed", text, name=name, before=before)
        Screen(self._console).renamed(share, before, str(named.log.path))

    def _rename_sites(self, name: ShareName) -> None:
        share, registered = self._share, self._share.link.registered
        rename_on_pages(share.access, self._options.access, name, share.machine)
        rules = site_rules(self._found, share.access, name, registered.https_url, registered.url)
        share.streams.visits.rules_of = rules.__getitem__
        url = page_url(registered, name)
        if share.guest_page is not None and url is not None:
            share.guest_page.move(name, url)


def _silent(share: LiveShare) -> VshareError:
    return VshareError(
        f"the relay {share.relay} does not answer; the share is called {share.name} as before",
        "try again when it does",
    )
