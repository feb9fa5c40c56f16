"""What `vshare up` says once it runs, to people and to scripts."""

from __future__ import annotations

from tunnel.console import Console
from vshare.live_share import LiveShare, clock
from vshare.look import Found
from vshare.news import News
from vshare.own_domains import records_of
from vshare.qr import show
from vshare.web.site_certificate import SiteCertificate
from vshare.web.sites import site_lines, site_urls

_TOLD_WITH_MORE = frozenset({"started", "renamed", "ended"})  # below


class Screen:
    """The terminal that the share was started in."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def news(self, news: News) -> None:
        """A Newsroom's listener."""
        if news.text and news.warning:
            self._console.warn(news.text)
        elif news.text:
            self._console.step(news.text)
        for line in records_of(news.fields) if news.kind == "own-domain" else ():
            self._console.detail(line)
        if news.kind not in _TOLD_WITH_MORE:
            self._console.event(event=news.kind, text=news.text, **news.fields)

    def started(
        self, share: LiveShare, found: Found, log: str, *, qr: bool = False, stays: bool = True
    ) -> None:
        """The share is up: what others need, and what they can do with it. `qr`: show the URL's
        QR code, too, where there is one. `stays`: the share has this terminal until it ends."""
        self._console.step("Your share is running!")
        if self._console.as_json:
            self._for_scripts(share, found)
        else:
            self._for_people(share, log, qr=qr)
            if stays:
                self._console.step("Press Ctrl-C to end the share.")

    def renamed(self, share: LiveShare, before: str, log: str) -> None:
        """It has another name: where it is now. Codes and passcodes are what they were."""
        console, page = self._console, share.guest_page
        certificate = share.browsers.fingerprint if share.browsers is not None else None
        console.event(
            event="renamed",
            before=before,
            **self._where(share),
            guest_page=page.url if page is not None else None,
            certificate=certificate,
            log=log,
        )
        if console.as_json:
            return
        self._tell_where(share)
        if share.browsers is not None:
            self._tell_of_certificate(share.browsers)
        if page is not None:
            console.result("Guest page:", page.url)
        console.result("Others connect with:", f"vconnect {share.connect}")
        console.detail("Guests stay, and the code is the same. What happens is written to")
        console.detail(f"{log} now.")

    def ended(self, reason: str, log: str, head: str) -> None:
        """It is over; `head` proves later what was logged."""
        self._console.event(event="ended", reason=reason, log=log, head=head)
        self._console.detail(f"Audit log: {log}")
        self._console.detail(f"Its head: {head}")

    def _for_scripts(self, share: LiveShare, found: Found) -> None:
        self._console.event(
            event="started",
            code=share.reception.code,
            **self._where(share),
            machine=share.machine,
            http_port=found.http_port,
            https_port=found.https_port,
            expires_at=share.expiry.at,
            ssh=share.ssh is not None,
            dashboard=share.dashboard.url if share.dashboard is not None else None,
            guest_page=share.guest_page.url if share.guest_page is not None else None,
            guest_page_passcode=share.guest_page.passcode if share.guest_page is not None else None,
            passcode=share.access.passcode,
            certificate=share.browsers.fingerprint if share.browsers is not None else None,
        )

    def _for_people(self, share: LiveShare, log: str, *, qr: bool) -> None:
        """In the manner of Vagrant Share's own words."""
        console = self._console
        self._tell_where(share, share.reception.code)
        if qr and share.url:
            show(console, share.url)
        elif qr:
            console.detail("There is no public URL to show as a QR code.")
        if share.browsers is not None:
            self._tell_of_certificate(share.browsers)
        if share.url:
            self._tell_of_access(share)
        if share.guest_page is not None:
            console.result("Guest page:", share.guest_page.url)
            console.result("Its passcode:", share.guest_page.passcode)
        if share.dashboard is not None:
            console.result("Dashboard:", share.dashboard.url)
        console.result("Others connect with:", f"vconnect {share.connect}")
        if share.ssh is not None:
            console.result("and by SSH with:", f"vconnect --ssh {share.connect}")
        console.step(f"Guests can open {share.streams.policy.describe()}. Tell them the code")
        console.step(f"yourself: whoever knows name and code is in. {_public(share)}")
        if share.ssh is not None and share.ssh.has_password:
            console.step("Who is to log in needs the SSH password as well: tell it apart.")
        console.detail(f"It ends at {clock(share.expiry.at)}; vshare extend moves that.")
        console.detail(f"What happens is written to {log}; vshare log shows it.")

    def _where(self, share: LiveShare) -> dict[str, object]:
        """What its name is part of."""
        registered, sites = share.link.registered, share.streams.visits.sites
        urls = site_urls(sites, share.name, registered.url, registered.https_url)
        return {
            "name": share.name,
            "url": registered.url or None,
            "https_url": registered.https_url or None,
            "sites": [
                {"label": site.label, "url": url, "port": site.port, "title": site.title}
                for url, site in urls
            ],
            "connect": share.connect,
        }

    def _tell_where(self, share: LiveShare, code: str = "") -> None:
        """The same for people. `code`: if it is to be shown, where people look for it."""
        console, registered = self._console, share.link.registered
        console.result("Name:", share.name)
        if code:
            console.result("Code:", code)
        if registered.url:
            console.result("URL:", registered.url)
        if registered.https_url:
            console.result("HTTPS URL:", registered.https_url)
        sites = share.streams.visits.sites
        lines = site_lines(sites, share.name, registered.url, registered.https_url)
        if lines:
            console.step("Its sites:")
        for line in lines:
            console.detail(line)

    def _tell_of_certificate(self, certificate: SiteCertificate) -> None:
        """What visitors compare: by it they know that nobody is in between."""
        self._console.result("Certificate:", f"SHA-256 {certificate.fingerprint}")
        if certificate.is_self_made:
            self._console.detail("Browsers warn of it, since it was made here: tell visitors to")
            self._console.detail("compare it. TLS ends in this process; the relay cannot read it.")

    def _tell_of_access(self, share: LiveShare) -> None:
        """Who may open the URL, where that is not everybody."""
        access = share.access
        if access.passcode is not None:
            self._console.result("Passcode:", access.passcode)
        if access.interstitial is not None:
            self._console.result("Invite link:", access.interstitial.invite_link(share.url))
        for line in access.lines:
            self._console.detail(line)


def _public(share: LiveShare) -> str:
    if not share.url:
        return "There is no public URL."
    access = share.access
    if any(rule is not access.interstitial for rule in access.rules):
        return "Who opens the URL needs what is said above."
    return "Anybody who knows the URL can open it."
