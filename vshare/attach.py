"""`vshare attach`: the screen of a share that runs in the background, or on another terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from tunnel.bottom_line import LOOK_EVERY
from tunnel.console import Console, Interrupt
from tunnel.errors import VshareError
from tunnel.running import Running
from vshare import requests
from vshare.running import SHARES

_NOT_FOR_EYES = frozenset({"event", "text", "warning"})  # the rest are the event's fields


async def attach(share: Running, console: Console, interrupt: Interrupt) -> None:
    """Show what happens in `share` until it ends or Ctrl-C, which ends nothing but the looking.

    Raises VshareError.
    """
    state = await asyncio.to_thread(share.ask, requests.Status(), requests.ShareState)
    async with share.session(requests.Follow(), requests.Following) as (_, reader, _writer):
        _show(state, console)
        interrupt.serving = True
        console.waits_for_reader = False
        line = _Line(share)
        with console.live(lambda: line.text) as is_shown:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(_tell(reader, console, line), name="news"),
                    group.create_task(interrupt.stopped.wait(), name="ctrl-c"),
                ]
                looking = group.create_task(line.keep(wanted=is_shown), name="line")
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in (*tasks, looking):
                    task.cancel()
    if interrupt.stopped.is_set():
        console.step("The share goes on; `vshare stop` ends it.")


def _show(state: requests.ShareState, console: Console) -> None:
    console.event(event="attached", **msgspec.to_builtins(state))
    if console.as_json:
        return
    console.result("Name:", state.name)
    if state.url:
        console.result("URL:", state.url)
    console.result("Others connect with:", f"vconnect {state.connect}")
    console.detail("`vshare code` shows the code. Ctrl-C leaves; the share goes on.")


async def _tell(reader: asyncio.StreamReader, console: Console, shown: _Line) -> None:
    """Until the share hangs up, which it does at its end."""
    try:
        while line := await reader.readline():
            news = _parse(line)
            if news.get("event") == "renamed":
                shown.rename(str(news.get("name")))
            _tell_one(news, console)
    except (OSError, ValueError):  # it was killed in the middle of a line
        pass
    console.step("The share has ended.")


def _tell_one(news: Mapping[str, object], console: Console) -> None:
    text = str(news.get("text", ""))
    if text and news.get("warning"):
        console.warn(text)
    elif text:
        console.step(text)
    fields = {key: value for key, value in news.items() if key not in _NOT_FOR_EYES}
    console.event(event=str(news.get("event", "")), text=text, **fields)


def _parse(line: bytes) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return {}


class _Line:
    """The share's bottom line, asked for as often as one is drawn."""

    def __init__(self, share: Running) -> None:
        self._share = share
        self.text = ""

    def rename(self, name: str) -> None:
        """It answers under another name from now on."""
        path = self._share.path.with_name(f"{name}{SHARES.suffix}")
        self._share = replace(self._share, name=name, path=path)

    async def keep(self, *, wanted: bool) -> None:
        """Run until cancelled."""
        while wanted:
            try:
                found = await asyncio.to_thread(self._share.ask, requests.Line(), requests.LineText)
                self.text = f"{self._share.name}: {found.text}"
            except VshareError:
                self.text = f"{self._share.name} does not answer"
            await asyncio.sleep(LOOK_EVERY)
