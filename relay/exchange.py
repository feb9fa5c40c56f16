"""A visitor's HTTP conversation with the gateway: requests in, answers out, one after another."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from http import HTTPStatus
from typing import cast

import h11

from relay.doors import Doors
from relay.http_events import BodyEvents
from relay.http_ledger import HttpLedger
from relay.http_rules import (
    FRAMING,
    HttpError,
    Origin,
    accept_of,
    check_request,
    forwarded_target,
    has_body,
    host_text,
    request_headers,
    response_headers,
    trailers,
)
from relay.pages import answer_with, error_page
from relay.quick_path import ANSWER_WITHIN, SAFE, QuickPath, Sent, Way
from relay.routes import Sites, strip_port
from relay.share_http import ShareHttp
from relay.silence import SilenceWatch
from relay.source_buckets import SourceBuckets
from relay.streams import ByteStream, VisitorStream
from relay.strict_heads import MAX_REQUEST_HEAD, check_head, cut_empty_lines, maybe_head
from relay.uploads import Upload, without_framing
from relay.upstreams import Door, Upstreams
from tunnel.errors import LostError, RemoteProtocolError, VshareError

MAX_STATUS = 599  # RFC 9110 15
# An answer that comes before the request's end is not overtaken by a reset: the visitor may send
# on for a while, as it does until it has read the answer (RFC 9112 9.6).
REST_SILENCE = 2.0  # seconds without a byte of it
REST_WITHIN = 20.0  # seconds for all of it
MAX_INFORMATIONAL = 16  # answers of 1xx before the final one; one or two occur

# To HEAD h11 says this where the share says nothing, which is as true (RFC 9110 9.3.2).
_CHUNKED = b"Transfer-Encoding: chunked\r\n"
_NOTHING = h11.Request(method="GET", target="/", headers=[("Host", "a")])

log = logging.getLogger(__name__)


class Conversation:
    """One visitor's connection. `close` must be called at its end."""

    def __init__(
        self,
        visitor: VisitorStream,
        origin: Origin,
        upstreams: Upstreams,
        sites: Sites,
        misses: SourceBuckets,
        *,
        ledger: HttpLedger | None = None,
    ) -> None:
        self._visitor, self._origin = visitor, origin
        self._ledger = ledger
        self._upstreams, self._sites = upstreams, sites
        self._http = h11.Connection(h11.SERVER, MAX_REQUEST_HEAD)
        self._upload = Upload(_NOTHING, b"")  # the last request's body
        self._fault: HttpError | None = None  # of that
        self._upstream: ShareHttp | None = None
        self._host = ""  # what the request under way asked for
        self._silence = SilenceWatch(lambda: self._upstream.stream if self._upstream else None)
        self._waiting: asyncio.Timeout | None = None  # for a request's head
        self._doors = Doors(origin, upstreams, sites, misses)
        self._quick = QuickPath(visitor, self._doors, self._opened, ledger)
        visitor.on_lost = self._visitor_lost
        visitor.on_eof = self._visitor_ended

    def close(self) -> None:
        """Give the stream to the share up."""
        self._silence.stop()
        self._abort_upstream()
        if self._ledger is not None:
            self._ledger.close()

    def retire(self, *, at_once: bool) -> None:
        """The next answer is the last; `at_once`: none is given to who has not asked by now."""
        if at_once and self._waiting is not None:
            self._waiting.reschedule(0.0)
        self._quick.retire(at_once=at_once)

    def _opened(self, way: Way) -> None:
        self._upstream = ShareHttp(way.door, way.stream)
        flow, sock = way.stream.flow, self._visitor.sock
        if flow is not None and sock is not None:
            flow.pace_also(sock)

    def _visitor_lost(self) -> None:
        self._abort_upstream()
        self._quick.visitor_ended()

    def _visitor_ended(self) -> None:
        self._silence.begin()
        self._quick.visitor_ended()

    def _abort_upstream(self) -> None:
        if self._upstream is not None:
            self._upstream.stream.abort()

    async def run(self) -> None:
        """Answer requests until the connection ends. Raises LostError when it breaks off."""
        begin = b""
        self._quick.begin(None)
        try:
            while True:
                sent = await self._quick.needed()
                if sent is not None:
                    begin = sent.message
                async with asyncio.timeout_at(self._quick.until) as self._waiting:
                    request = await self._next_request(begin)
                self._waiting = None
                if request is None:
                    return
                if not await self._answer(request, sent):
                    await self._let_finish()
                    return
                begin = self._upload.rest
                self._http = h11.Connection(h11.SERVER, MAX_REQUEST_HEAD)
                self._quick.rest()
                self._maybe_quicken(begin)
        except TimeoutError:
            return
        except HttpError as error:
            await self._send_error(error)
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            await self._send_error(HttpError(status, "The request is not valid HTTP", str(error)))
        finally:
            self._waiting = None

    async def _next_request(self, begin: bytes) -> h11.Request | None:
        """The request that begins with `begin`; None if the visitor ends before it is whole.
        Raises HttpError, h11.RemoteProtocolError."""
        begin = cut_empty_lines(begin)
        while (head := maybe_head(begin)) is None:
            data = await self._visitor.receive_some()
            if not data:
                return None
            begin = cut_empty_lines(begin + data)
        check_head(head)
        self._http.receive_data(head)
        request = cast(h11.Request, self._http.next_event())
        self._upload = Upload(request, begin[len(head) :])
        if has_body(request):  # which is counted apart
            self._http = h11.Connection(h11.SERVER, MAX_REQUEST_HEAD)
            self._http.receive_data(without_framing(head))
            self._http.next_event()
        self._http.next_event()
        return request

    async def _let_finish(self) -> None:
        """The rest of a request that was answered before its end."""
        if self._upload.is_whole or self._fault is not None:
            return
        self._visitor.send_eof()
        with contextlib.suppress(TimeoutError, LostError):
            async with asyncio.timeout(REST_WITHIN):
                while True:
                    async with asyncio.timeout(REST_SILENCE):
                        if not await self._visitor.receive_some():
                            return

    def _maybe_quicken(self, begin: bytes) -> None:
        """Leave what comes next to the quick path, if there is a stream and nothing came yet."""
        upstream = self._upstream
        if upstream is None:
            return
        if upstream.is_reusable() and self._visitor.is_quiet and not begin:
            self._quick.begin(Way(upstream.door, upstream.stream))

    async def _answer(self, request: h11.Request, sent: Sent | None) -> bool:
        """Answer one request; False if the connection cannot be used again."""
        self._fault = None
        try:
            switched = await self._forward(request, sent)
        except HttpError as error:
            await self._send_error(error, accept_of(request), head_only=request.method == b"HEAD")
            return self._is_complete()
        finally:
            if self._ledger is not None:
                self._ledger.finish()
        if switched:
            return False
        return self._is_complete()

    def _is_complete(self) -> bool:
        states = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        is_whole = self._http.states == states and self._upload.is_whole
        return is_whole and not self._silence.has_given_up

    async def _forward(self, request: h11.Request, sent: Sent | None) -> bool:
        """Forward a request and its answer; True if the connection was turned over to another
        protocol, which has ended then. Raises HttpError while no answer was begun."""
        self._host = strip_port(host_text(request))
        if sent is not None and self._upstream is not None:
            door, reused = self._upstream.door, True
            if sent.late:
                raise _given_up(self._upstream)
        else:
            site = check_request(request, self._origin, self._sites)
            if self._upstreams.expects(site):
                await self._upstreams.wait_for(site)
            door = self._doors.door_of(site)
            if self._ledger is not None:
                target = forwarded_target(request.target)
                self._ledger.begin(door.site, request.method, target)
            reused = await self._choose_upstream(door)
        try:
            return await self._exchange(request, sent)
        except LostError as error:
            mute = reused and self._upstream is not None and not self._upstream.heard
            safe = not has_body(request) and request.method in SAFE
            if mute and safe and self._unanswered() and not self._silence.has_given_up:
                self._abort_upstream()
                await self._open_upstream(door)
                return await self._try_again(request, door)
            raise self._broken_off(door, error) from error

    async def _try_again(self, request: h11.Request, door: Door) -> bool:
        try:
            return await self._exchange(request)
        except LostError as error:
            raise self._broken_off(door, error) from error

    def _unanswered(self) -> bool:
        return self._http.our_state is h11.SEND_RESPONSE and not self._visitor.closed.is_set()

    def _broken_off(self, door: Door, error: LostError) -> HttpError | LostError:
        if not self._unanswered():
            self._visitor.abort()  # so that a part is not taken for the whole
            return error
        return self._fault or HttpError(
            HTTPStatus.BAD_GATEWAY,
            f"The application behind {door.name} hung up without an answer",
            f"{error.text.capitalize()}.",
        )

    async def _choose_upstream(self, door: Door) -> bool:
        """Take or open the stream for a request; True if it has carried another before."""
        upstream = self._upstream
        if upstream is not None and upstream.door == door and upstream.is_reusable():
            return True
        await self._open_upstream(door)
        return False

    async def _open_upstream(self, door: Door) -> None:
        self._abort_upstream()
        self._upstream = None
        self._opened(Way(door, await self._upstreams.open(door)))
        if self._visitor.closed.is_set():
            self._abort_upstream()

    async def _exchange(self, request: h11.Request, sent: Sent | None = None) -> bool:
        upstream, upload = self._upstream, self._upload
        if upstream is None:
            raise LostError("there is no stream")
        head = upstream.begin(
            h11.Request(
                method=request.method,
                target=forwarded_target(request.target),
                headers=request_headers(request, self._origin),
            )
        )
        begun = False
        if sent is not None:
            upload.take()
            begun = sent.begun
        else:
            if self._ledger is not None:
                self._ledger.over(upstream.stream)
            await upstream.stream.send_all(head)
        if upload.is_whole:
            return await self._receive_answer(upstream, begun=begun)
        switched = False
        failure: VshareError | None = None
        async with asyncio.TaskGroup() as group:
            body = group.create_task(self._send_body(upstream), name="request body")
            try:
                switched = await self._receive_answer(upstream)
            except VshareError as error:  # raised outside the group, which would wrap it
                failure = error
            finally:
                body.cancel()
        if failure is not None:
            raise failure
        return switched

    async def _send_body(self, upstream: ShareHttp) -> None:
        """The request's body to the share, as it comes."""
        fault: HttpError | None = None
        try:
            await self._upload.send(self._visitor, upstream.stream)
            return
        except (h11.ProtocolError, RemoteProtocolError) as error:
            bad = HTTPStatus.BAD_REQUEST
            fault = HttpError(bad, "The request is not valid HTTP", str(error))
        except TimeoutError:
            late = HTTPStatus.REQUEST_TIMEOUT
            fault = HttpError(late, "The request did not come to its end")
        except LostError as error:
            log.debug("a request's body broke off: %s", error)
        self._fault = fault
        upstream.stream.abort()

    async def _receive_answer(self, upstream: ShareHttp, *, begun: bool = False) -> bool:
        """The answer to the visitor, as it comes, but for a head that it has (`begun`); True after
        another protocol has ended."""
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                answer = await self._answer_head(upstream)
            if isinstance(answer, h11.InformationalResponse):
                await self._switch(upstream, answer)
                return True
            if self._ledger is not None:
                self._ledger.status = answer.status_code
            headers = response_headers(answer, self._host)
            last = self._quick.is_retired and not begun
            if last or not self._upload.is_whole:  # which may not be read to its end
                headers.append((b"Connection", b"close"))
            head = self._http.send(
                h11.Response(status_code=answer.status_code, reason=answer.reason, headers=headers)
            )
            if upstream.is_head and not any(name.lower() in FRAMING for name, _ in headers):
                head = (head or b"").replace(_CHUNKED, b"", 1)
            if not begun:
                await self._visitor.send_all(head or b"")
            await self._answer_body(upstream)
        except TimeoutError:
            raise _given_up(upstream) from None
        except h11.ProtocolError as error:  # Local: what came cannot be passed on as it is
            upstream.stream.abort()
            raise LostError(f"the answer is not valid HTTP: {error}") from error
        states = {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}
        if upstream.http.states == states and self._upload.is_whole:
            upstream.http.start_next_cycle()
        else:
            upstream.stream.abort()
        return False

    async def _answer_head(self, upstream: ShareHttp) -> h11.Response | h11.InformationalResponse:
        """The final answer's head, or that of 101; others of 1xx are passed on."""
        for _ in range(MAX_INFORMATIONAL):
            event = await upstream.next_event()
            version = getattr(event, "http_version", b"1.1")
            if not version.startswith(b"1."):
                raise LostError(f"the answer is of version {version.decode()}")
            if isinstance(event, h11.Response):
                if event.status_code > MAX_STATUS:
                    raise LostError(f"the answer has no HTTP status: {event.status_code}")
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise LostError("the connection ended before an answer")
            if event.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                return event
            if self._http.their_http_version not in (None, b"1.0"):
                await self._send(
                    h11.InformationalResponse(
                        status_code=event.status_code,
                        reason=event.reason,
                        headers=response_headers(event, self._host),
                    )
                )
        raise LostError(f"more than {MAX_INFORMATIONAL} informational answers")

    async def _answer_body(self, upstream: ShareHttp) -> None:
        body = BodyEvents(upstream.http, upstream.stream)
        while True:
            event = await body.next_event()
            if isinstance(event, h11.Data):
                await self._send(event)
            elif isinstance(event, h11.EndOfMessage):
                is_old = self._http.their_http_version in (None, b"1.0")  # which has no trailers
                await self._send(h11.EndOfMessage(headers=[] if is_old else trailers(event)))
                return
            else:
                raise LostError("the answer ended early")

    async def _switch(self, upstream: ShareHttp, answer: h11.InformationalResponse) -> None:
        """101: pass it on and move bytes both ways until both have ended."""
        if not self._upload.is_whole:
            raise LostError("the protocol was changed before the request's end")
        if self._ledger is not None:
            self._ledger.status = answer.status_code
        await self._send(
            h11.InformationalResponse(
                status_code=answer.status_code,
                reason=answer.reason,
                headers=response_headers(answer, self._host),
            )
        )
        early_up, early_down = self._upload.rest, upstream.http.trailing_data[0]
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(self._visitor, upstream.stream, early_up))
            group.create_task(_copy(upstream.stream, self._visitor, early_down))

    async def _send(self, event: h11.Event) -> None:
        await self._visitor.send_all(self._http.send(event) or b"")

    async def _send_error(
        self, error: HttpError, accept: bytes = b"", *, head_only: bool = False
    ) -> None:
        """A page that says what went wrong, if an answer can still be sent."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._visitor.abort()
            return
        if self._ledger is not None:
            self._ledger.status = error.status
        domain = self._sites.domain
        page = error_page(error.status, error.text, error.hint, domain, error.retry_after)
        headers, body = answer_with(page, accept)
        is_whole = self._http.their_state is h11.DONE and self._upload.is_whole
        if not is_whole or self._quick.is_retired or self._silence.has_given_up:
            headers.append((b"Connection", b"close"))
        with contextlib.suppress(LostError, h11.LocalProtocolError):
            status, reason = error.status, error.status.phrase.encode()
            await self._send(h11.Response(status_code=status, reason=reason, headers=headers))
            if not head_only:
                await self._send(h11.Data(body))
            await self._send(h11.EndOfMessage())


def _given_up(upstream: ShareHttp) -> HttpError:
    """No answer came in time."""
    upstream.stream.abort()
    return HttpError(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"{upstream.door.name} took too long to answer",
        f"There was no answer from its application in {ANSWER_WITHIN:g} seconds.",
    )


async def _copy(source: ByteStream, target: ByteStream, early: bytes) -> None:
    """Bytes of one direction until its end; a failure ends both directions."""
    try:
        await target.send_all(early)
        while data := await source.receive_some():
            await target.send_all(data)
        target.send_eof()
    except LostError:
        source.abort()
        target.abort()
