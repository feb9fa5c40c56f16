"""Notes what flows through the relay, for its history: in memory, until a thread writes it.

What is written is what `vrelay history` shows, and nothing else: no header, no body, no query of a
path, no token; source addresses only where they are wanted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from relay.accounting import Accounting, How, Request, Session, Visit
from relay.config import HistoryConfig
from relay.history.rows import Batch, FlowRow, SessionRow, VisitRow, shown
from relay.history.writer import Writer

WRITE_EVERY = 1.0  # seconds in which rows are gathered
MAX_ROWS = 20_000  # that wait to be written: some 10 MB
LOOK_EVERY = 60.0  # seconds between looks at the bytes of visits that last
AT_ONCE = 500  # visits looked at without a pause; under a millisecond
WARN_EVERY = 60.0  # seconds between warnings that rows were left out
MAX_PATH = 512  # characters of a path that are kept
MAX_METHOD = 20
_METHODS = {each.encode(): each for each in ("GET", "HEAD", "OPTIONS", "POST", "PUT")}

log = logging.getLogger(__name__)


class _Session(msgspec.Struct, eq=False):
    """A share's session, and what it had since the last batch."""

    row: SessionRow
    is_new: bool = False  # it had something
    received: int = 0
    sent: int = 0
    visits: int = 0
    requests: int = 0


class _Known(msgspec.Struct, eq=False):
    """A visit that lasts, and its bytes that are accounted for."""

    id: int
    session: _Session
    received: int = 0
    sent: int = 0


class Recorder:
    """A sink of the accounting; see relay.accounting.Sink. `run` must be running."""

    def __init__(self, writer: Writer, *, sources: bool = True) -> None:
        self._writer, self._sources = writer, sources
        self._ids = itertools.count(1)
        self._sessions: dict[Session, _Session] = {}  # which last
        self._new: list[_Session] = []  # which had something
        self._visits: dict[Visit, _Known] = {}
        self._batch = Batch()
        self._timer: asyncio.TimerHandle | None = None
        self.left_out = 0  # rows, in all
        self._left_out = 0  # rows, since the last warning
        self._warned = -WARN_EVERY
        self._has_gaps = False  # rows were left out, perhaps of what ended since

    # -- what happens

    def share_began(self, share: Session) -> None:
        """See relay.accounting.Sink."""
        row = SessionRow(
            next(self._ids),
            str(share.name),
            share.token,
            share.http,
            share.passthrough,
            time.time(),
            None,
            "",
        )
        self._sessions[share] = _Session(row)
        self._note_session(row)

    def share_ended(self, share: Session, how: How) -> None:
        """See relay.accounting.Sink."""
        session = self._sessions.pop(share, None)
        if session is not None:
            row = msgspec.structs.replace(session.row, ended_at=time.time(), how=how.value)
            self._note_session(row)

    def visit_began(self, visit: Visit) -> None:
        """See relay.accounting.Sink."""
        session = self._sessions.get(visit.share)
        if session is not None:
            known = self._visits[visit] = _Known(next(self._ids), session)
            self._note_visit(visit, known, None)
            session.visits += 1
            self._note_new(session)

    def visit_ended(self, visit: Visit) -> None:
        """See relay.accounting.Sink."""
        known = self._visits.pop(visit, None)
        if known is not None:
            now = time.time()
            self._note_flow(visit, known)
            self._note_visit(visit, known, now)

    def request(self, visit: Visit, request: Request) -> None:
        """See relay.accounting.Sink."""
        known = self._visits.get(visit)
        if known is None or not self._has_room():
            return
        session = known.session
        self._batch.requests.append(
            (
                session.row.id,
                known.id,
                time.time(),
                _METHODS.get(request.method) or shown(request.method, MAX_METHOD),
                shown(request.path, MAX_PATH),
                request.status,
                request.received,
                request.sent,
                request.seconds,
            )
        )
        known.received += request.received
        known.sent += request.sent
        session.received += request.received
        session.sent += request.sent
        session.requests += 1
        if not session.is_new:
            self._note_new(session)

    async def run(self) -> None:
        """Until cancelled: note the bytes of what lasts."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            await self.look()

    async def look(self) -> None:
        """At the bytes of visits that last, once."""
        for number, (visit, known) in enumerate(list(self._visits.items())):
            if visit in self._visits and self._note_flow(visit, known):
                self._note_visit(visit, known, None)
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
        if self._sessions:
            self._arm()

    # -- on its way

    def _note_session(self, row: SessionRow) -> None:
        if len(self._batch.sessions) < MAX_ROWS:  # whatever else waits: they are few, and matter
            self._batch.sessions[row.id] = row
            self._arm()
        else:
            self._leave_out()

    def _note_visit(self, visit: Visit, known: _Known, ended_at: float | None) -> None:
        if known.id in self._batch.visits or self._has_room():
            self._batch.visits[known.id] = self._visit_row(visit, known, ended_at)

    def _visit_row(self, visit: Visit, known: _Known, ended_at: float | None) -> VisitRow:
        return VisitRow(
            known.id,
            known.session.row.id,
            visit.kind.value,
            visit.label,
            visit.source if self._sources else "",
            visit.began_at,
            ended_at,
            round(visit.seconds, 3),
            known.received,
            known.sent,
        )

    def _note_flow(self, visit: Visit, known: _Known) -> bool:
        """What has flown since the last look; False: nothing."""
        received, sent = visit.received - known.received, visit.sent - known.sent
        if not received and not sent:
            return False
        known.received += received
        known.sent += sent
        known.session.received += received
        known.session.sent += sent
        self._note_new(known.session)
        return True

    def _note_new(self, session: _Session) -> None:
        """It had something since the last batch."""
        if not session.is_new:
            session.is_new = True
            self._new.append(session)
            self._arm()

    def _has_room(self) -> bool:
        """Whether another row is taken; it is written soon."""
        if len(self._batch) >= MAX_ROWS:
            self._leave_out()
            return False
        self._arm()
        return True

    def _leave_out(self) -> None:
        self._left_out += 1
        self.left_out += 1
        self._has_gaps = True

    def _arm(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(WRITE_EVERY, self._hand_over)

    def _hand_over(self) -> None:
        self._timer = None
        self._warn()
        if not self._writer.is_free:
            self._arm()
            return
        self._writer.write(self._take())

    def _take(self) -> Batch:
        """What is to be written, and what lasts, if the tables may have it wrong."""
        batch, self._batch = self._batch, Batch()
        batch.flows = self._take_new()
        has_gaps = self._has_gaps or self._writer.has_gaps
        if self._sessions or has_gaps:
            batch.alive_at = time.time()
        if has_gaps:
            self._has_gaps = self._writer.has_gaps = False
            for session in self._sessions.values():
                batch.sessions.setdefault(session.row.id, session.row)
            for visit, known in self._visits.items():
                batch.visits.setdefault(known.id, self._visit_row(visit, known, None))
            batch.lasting = [session.row.id for session in self._sessions.values()]
            batch.lasting += [known.id for known in self._visits.values()]
        return batch

    def _take_new(self) -> list[FlowRow]:
        now, rows = time.time(), []
        for each in self._new:
            rows.append(
                FlowRow(each.row.id, now, each.received, each.sent, each.visits, each.requests)
            )
            each.received = each.sent = each.visits = each.requests = 0
            each.is_new = False
        self._new.clear()
        return rows

    def _warn(self) -> None:
        now = time.monotonic()
        if self._left_out and now - self._warned >= WARN_EVERY:
            log.warning("%d rows of the history were left out", self._left_out)
            self._left_out, self._warned = 0, now

    def close(self) -> None:
        """Write what there is; the relay ends."""
        if self._timer is not None:
            self._timer.cancel()
        self._writer.close(self._take())


@contextlib.contextmanager
def recording(
    accounting: Accounting, folder: Path | None, config: HistoryConfig | None
) -> Iterator[Recorder | None]:
    """Keeps the history of what flows through `accounting` while the block runs, in the state
    directory `folder`; without one, or what to keep, nothing."""
    if folder is None or config is None:
        yield None
        return
    recorder = accounting.add(Recorder(Writer(folder, config.days), sources=config.sources))
    try:
        yield recorder
    finally:
        recorder.close()
