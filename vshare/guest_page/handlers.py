"""What a running share does about its guest page when another terminal asks
(guest_page/requests.py)."""

from __future__ import annotations

from collections.abc import Mapping

from tunnel.control_socket import Handler, on
from tunnel.errors import UsageError
from tunnel.requests import Request
from vshare.guest_page import requests
from vshare.guest_page.page import GuestPage
from vshare.guest_page.setup import new_passcode
from vshare.web.passcode import check_passcode


class PageHandlers:
    """The commands, each a method. They raise VshareError, which the other terminal shows."""

    def __init__(self, page: GuestPage | None) -> None:
        self._page = page

    def table(self) -> Mapping[type[Request], Handler]:
        """For the control socket."""
        return dict([on(requests.GuestPage, self.state), on(requests.ChangePage, self.change)])

    async def state(self, request: requests.GuestPage) -> requests.PageState:
        """See requests.GuestPage."""
        return _state(self._required())

    async def change(self, request: requests.ChangePage) -> requests.PageState:
        """See requests.ChangePage."""
        page, out = self._required(), 0
        if request.passcode is not None:
            passcode = check_passcode(request.passcode) if request.passcode else new_passcode()
            out = page.change_passcode(passcode, keep=request.keep)
        if request.is_open is not None:
            out += page.set_open(is_open=request.is_open)
        return _state(page, out)

    def _required(self) -> GuestPage:
        if self._page is None:
            raise UsageError(
                "this share has no guest page", "start it with --guest-page to have one"
            )
        return self._page


def _state(page: GuestPage, out: int = 0) -> requests.PageState:
    visitors = page.visitors.all()
    here = sum(each.is_here for each in visitors)
    return requests.PageState(page.url, page.passcode, page.is_open, here, len(visitors), out)
