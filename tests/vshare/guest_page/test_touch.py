"""The guest page where the only keyboard is one on the screen: Chromium as a phone and a tablet.

What such keyboards do is said by the browser's own protocol: text without keys, words that are
composed. Where it matters that a real one is another thing (an iPhone's), nothing is shown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.vshare.guest_page.test_browser import (
    PHONE,
    TABLET,
    WITHIN,
    Running,
    browser,
    come_in,
    is_within,
    press,
    running,
    wait_for,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

__all__ = ["browser", "running"]
pytestmark = pytest.mark.programs
KEYBOARD = 300  # pixels of the screen
SHOWN = """() => {
    const box = (id) => document.querySelector(id).getBoundingClientRect();
    const screen = document.getElementById("screen"), letters = box(".xterm-screen");
    return {
        wide: letters.width <= screen.clientWidth,
        high: letters.height <= screen.clientHeight,
        keys: box("#keys").bottom <= innerHeight && box("#keys").top >= box("#screen").bottom - 1,
    };
}"""


class Hand:
    """Holds a device with a shared terminal on its screen."""

    def __init__(self, page: Page, running: Running) -> None:
        self.page, self.shell = page, running.shells["main"]
        self._protocol: CDPSession = page.context.new_cdp_session(page)
        self.shell.typed = b""

    def compose(self, *steps: str) -> None:
        """A word as the keyboard shows it while it is typed; it is not decided on."""
        for text in steps:
            unknown = {"windowsVirtualKeyCode": 229, "key": "Unidentified"}
            self._protocol.send("Input.dispatchKeyEvent", {"type": "rawKeyDown", **unknown})
            place = {"selectionStart": len(text), "selectionEnd": len(text)}
            self._protocol.send("Input.imeSetComposition", {"text": text, **place})
            self._protocol.send("Input.dispatchKeyEvent", {"type": "keyUp", **unknown})

    def insert(self, text: str) -> None:
        """Text without a key; what was composed is this."""
        self._protocol.send("Input.insertText", {"text": text})

    def typed(self, expected: str) -> None:
        """The shell has got this by now, and nothing else."""
        wait_for(lambda: len(self.shell.typed) >= len(expected.encode()))
        assert self.shell.typed.decode() == expected
        self.shell.typed = b""


@pytest.fixture(params=[PHONE, TABLET], ids=["phone", "tablet"])
def hand(request: pytest.FixtureRequest, browser: Browser, running: Running) -> Iterator[Hand]:
    context = browser.new_context(viewport=request.param, has_touch=True, is_mobile=True)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(WITHIN * 1000)
    come_in(page, running)
    page.get_by_role("button", name="main").tap()
    page.get_by_text("you can type").wait_for()
    yield Hand(page, running)
    context.close()


def test_text_that_comes_without_keys_and_words_that_are_composed(hand: Hand) -> None:
    hand.insert("é")
    hand.insert("hello world")
    hand.page.keyboard.press("Backspace")
    hand.typed("éhello world\x7f")
    hand.compose("\N{ACUTE ACCENT}")
    hand.insert("é")
    hand.typed("é")
    hand.compose("k", "か", "かn", "かん")
    hand.insert("漢")
    hand.typed("漢")
    hand.compose("l", "ls")
    hand.insert("ls")
    hand.typed("ls")
    hand.page.keyboard.press("Enter")
    hand.typed("\r")


def test_keys_of_the_row_come_behind_what_is_composed(hand: Hand) -> None:
    hand.compose("c", "cd")
    press(hand.page, "Tab")
    hand.typed("cd\t")
    assert hand.page.evaluate("document.activeElement === open.xterm.textarea")
    press(hand.page, "Ctrl")
    hand.compose("c")
    hand.typed("\x03")  # though the keyboard has not decided on the word
    hand.insert("x")
    hand.typed("x")


def test_a_touch_beside_the_letters_keeps_the_keyboard(hand: Hand) -> None:
    box = hand.page.locator("#screen").bounding_box()
    assert box is not None
    hand.page.touchscreen.tap(box["x"] + 20, box["y"] + box["height"] - 10)
    hand.insert("x")
    hand.typed("x")
    size = "parseFloat(getComputedStyle(open.xterm.textarea).fontSize)"
    assert hand.page.evaluate(size) >= 16  # or an iPhone enlarges the page


def test_what_was_copied_is_pasted_whole(hand: Hand) -> None:
    text = "one\ntwo\n" + "z" * 9_000
    hand.page.evaluate("text => navigator.clipboard.writeText(text)", text)
    press(hand.page, "Paste")
    hand.typed(text.replace("\n", "\r"))


def test_it_fits_however_the_device_is_held(hand: Hand) -> None:
    """Upright, on its side, and with a keyboard over a part of it."""
    page, size = hand.page, hand.page.viewport_size
    assert size is not None
    width, height = size["width"], size["height"]
    for wide, high in ((height, width), (width, height - KEYBOARD), (width, height)):
        page.set_viewport_size({"width": wide, "height": high})
        page.wait_for_function(f"() => Object.values(({SHOWN})()).every(Boolean)")
        assert is_within(page)
    hand.insert("x")
    hand.typed("x")
