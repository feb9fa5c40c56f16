"""Holds a conversation with a port, on the way that guests take."""

from __future__ import annotations

import asyncio

from tunnel.codes import Code
from tunnel.ends import Bytes, End
from tunnel.errors import VshareError
from vshare.reach import Reach
from vshare.weaknesses.danger import Verdict
from vshare.weaknesses.dialogue import Conversation, Dialogue

# A server that is awake answers in milliseconds, an emulated one in a second.
ASK_TIMEOUT_SECONDS = 3.0


async def ask(reach: Reach, host: str, port: int, conversation: Conversation) -> Verdict:
    """What the conversation came to. Raises nothing for what the port does."""
    dialogue = Dialogue(conversation)
    try:
        async with asyncio.timeout(ASK_TIMEOUT_SECONDS):
            return await _hold(reach, host, port, dialogue)
    except TimeoutError:
        return Verdict(note=f"no answer in {ASK_TIMEOUT_SECONDS:.0f} s")
    except VshareError as error:
        return Verdict(note=error.text)


async def _hold(reach: Reach, host: str, port: int, dialogue: Dialogue) -> Verdict:
    end = await reach.open_tcp(host, port)
    asker = _Asker(dialogue)
    try:
        end.link(asker)
        asker.link(end)
        end.send(dialogue.data_to_send())
        return await asyncio.shield(asker.verdict)
    finally:
        end.reset(Code.CLOSED)


class _Asker(End):
    """The peer of a port that is asked: what the port says goes into the dialogue."""

    def __init__(self, dialogue: Dialogue) -> None:
        super().__init__()
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._dialogue = dialogue

    def send(self, data: Bytes) -> None:
        """See End.send: the port said `data`."""
        self._dialogue.receive_data(data)
        if answer := self._dialogue.data_to_send():
            self.peer.send(answer)
        self._maybe_done()

    def send_eof(self) -> None:
        """See End.send_eof."""
        self._dialogue.receive_eof()
        self._maybe_done()

    def reset(self, code: Code) -> None:
        """See End.reset."""
        self.closed(code)
        self.send_eof()

    def pause_reading(self) -> None:
        """What is sent fits any buffer."""

    def resume_reading(self) -> None:
        """Nothing is read."""

    def _maybe_done(self) -> None:
        if self._dialogue.verdict is not None and not self.verdict.done():
            self.verdict.set_result(self._dialogue.verdict)
