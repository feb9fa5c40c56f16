"""The guest page as the command line asks for it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.vshare.guest_page.small_page import NAME
from tunnel.control import Registered
from tunnel.errors import UsageError
from tunnel.names import make_code
from vshare.guest_page.setup import page_url
from vshare.options import GuestPageOptions, Options

PAGE = GuestPageOptions()


def registered(url: str, https_url: str = "") -> Registered:
    return Registered(NAME, "relay.example", url, https_url, 60.0)


def test_where_it_is() -> None:
    encrypted = registered(f"http://{NAME}.relay.example/", f"https://{NAME}.relay.example:8443/")
    assert page_url(encrypted, NAME) == f"https://{NAME}--join.relay.example:8443/"
    here = registered(f"http://{NAME}.localhost:8080/", f"https://{NAME}.localhost:8443/")
    assert page_url(here, NAME) == f"http://{NAME}--join.localhost:8080/"
    through = msgspec.structs.replace(here, passthrough=True)
    assert page_url(through, NAME) == f"https://{NAME}--join.localhost:8443/"
    assert page_url(registered("http://192.0.2.7:8080/"), NAME) is None
    assert page_url(registered(""), NAME) is None


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    Options(guest_page=PAGE).check()
    for options in (Options(guest_page=PAGE, http=False), Options(guest_page=PAGE, lan=True)):
        with pytest.raises(UsageError, match="contradict"):
            options.check()
    passcode = tmp_path / "passcode"
    for bad in ("short", str(make_code(lambda below: 7))):
        passcode.write_text(bad)
        with pytest.raises(UsageError) as told:
            Options(guest_page=GuestPageOptions("read", passcode)).check()
        assert bad not in str(told.value)
    passcode.write_text("a-good-passcode\n")
    Options(guest_page=GuestPageOptions("read", passcode)).check()
