"""Why the two differ, class by class; what no class has is a failure."""
# ruff: noqa: E501 - text of a document

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.conformance.compare import Difference


@dataclass(frozen=True)
class Explanation:
    """`cases`, `theirs`, `ours`: regular expressions for the whole of a difference's."""

    title: str
    text: str
    aspect: str
    cases: str = ".*"
    theirs: str = ".*"
    ours: str = ".*"

    def covers(self, difference: Difference) -> bool:
        """Whether it is this that explains `difference`."""
        pairs = (
            (self.aspect, difference.aspect),
            (self.cases, difference.case),
            (self.theirs, difference.theirs),
            (self.ours, difference.ours),
        )
        return all(re.fullmatch(pattern, text, re.DOTALL) for pattern, text in pairs)


_OK = "200; kept"
_REFUSED = "own (4..|501|505); (kept|closed); nothing sent on"

EXPLANATIONS: tuple[Explanation, ...] = (
    Explanation(
        "Requests that nginx mends and the gateway refuses",
        "The gateway refuses what two programs could read differently, and what no program sends: a"
        " bare CR, control characters, lines that are no fields, names with other bytes than a"
        " token's, bytes above 127 in a target (RFC 3986 2), white space where the grammar has none,"
        " lengths of more digits than any body has, chunks with bare LF. nginx drops the line, or"
        " reads on.",
        "answers",
        "(target: /\xc3\xa9|target: /\xff|version: .*|field: .*|line: .*|length: .*|coding: .*|chunks: .*)",
        _OK,
        "own 400; closed; nothing sent on",
    ),
    Explanation(
        "Hosts that are not the site's",
        "At a relay the Host says whose site is meant, so it must be a host (RFC 9110 7.2), agree"
        " with an absolute target, and be a share's: else 400 or 421 (RFC 9110 15.5.20). nginx has"
        " one site here, and serves it to all. It refuses tabs around the value, which"
        " RFC 9112 5.1 allows, and says 400 where the gateway says 421.",
        "answers",
        "(host: .*|target: http://.*|version: 1.0 without a Host)",
    ),
    Explanation(
        "Targets that are no path and no URL of HTTP",
        "RFC 9112 3.2. nginx takes any scheme and drops it.",
        "answers",
        "target: (ftp|ws)://.*",
        _OK,
        _REFUSED,
    ),
    Explanation(
        "Requests that nginx does not let through",
        "They are valid, and for the application to judge: methods with small letters or signs"
        " (RFC 9110 9.1), TRACE, `*` as the target of OPTIONS, paths with odd escapes or above the"
        " root, which the gateway passes on as they are; Transfer-Encoding with white space around"
        " its value (RFC 9112 5.1). A chunk's extension is dropped unread.",
        "answers",
        "(method: .*|target: /.*|target: \\* with OPTIONS|length: body of TRACE|coding: white space around"
        "|chunks: bare CR in an extension)",
        _REFUSED,
        _OK,
    ),
    Explanation(
        "Limits of heads",
        "The gateway takes 16 KiB for a request's head however it is made up, and says 431 above"
        " (RFC 6585 5); the share takes 64 KiB for an answer's. nginx takes 8 KiB for a line and 4 KiB"
        " for an answer's head when nothing is said. Trailers may have 16 KiB.",
        "answers",
        "(target: /a.*|field: .*(long|1,000).*|answer: .*long.*head|chunks: a long trailer)",
    ),
    Explanation(
        "Other codes for the same refusal",
        "400 for a version that is none, 505 for one that is not spoken; 501 for codings that are not"
        " known, also where there are two fields of them.",
        "answers",
        "(version: .*|coding: .*)",
        _REFUSED,
        _REFUSED,
    ),
    Explanation(
        "HTTP/0.9",
        "A request without a version. nginx answers it as HTTP/0.9 had it, without a head.",
        "answers",
        "version: none",
    ),
    Explanation(
        "A head that does not end",
        "Without a line's end the gateway waits for one, for 10 s at first, for 75 s later.",
        "answers",
        "line: (bare CR everywhere|CR CR LF)",
        _REFUSED,
        "no answer; silent; nothing sent on",
    ),
    Explanation(
        "A body that does not end",
        "A chunk of 2^63 bytes is a chunk, and a last chunk that ends with a bare LF is none: the"
        " gateway waits for the rest, for 120 s. What it passes on is framed anew, so nothing that"
        " is behind it could be lost in a number.",
        "answers",
        "chunks: .*",
        ".*",
        "no answer; silent; nothing sent on",
    ),
    Explanation(
        "A length with an underscore",
        "Not a length: what follows is the next request. The gateway's is behind the body's bytes,"
        " which are an unfinished line then.",
        "answers",
        "length: with an underscore in its name",
    ),
    Explanation(
        "Connections kept behind a refusal",
        "A request that was read to its end and refused costs nothing more; nginx closes after 400.",
        "ending",
        ".*",
        "closed",
        "kept",
    ),
    Explanation(
        "HTTP/1.0 is not kept",
        "Connection: keep-alive of HTTP/1.0 was never specified well (RFC 9112 C.2.2); the gateway"
        " closes behind each answer to 1.0.",
        "ending",
        "version: 1.0 that is kept",
    ),
    Explanation(
        "Names of fields",
        "Any token is a name (RFC 9110 5.1), and is passed on. nginx drops names with others than"
        " letters, digits and dashes when nothing is said, as some applications take an underscore"
        " for a dash; the gateway drops those that would be a forwarding field to these.",
        "sent fields",
        "field: .* (name|token)",
    ),
    Explanation(
        "Hop-by-hop fields",
        "What Connection names, and what ends at a hop (RFC 9110 7.6.1), is not passed on, in either"
        " direction. nginx passes on what its configuration does not name. Upgrade without"
        " Connection: Upgrade asks for nothing.",
        "(sent )?fields",
        "(hop: (Connection|Proxy-|Upgrade).*|answer: (hop-by-hop fields|Upgrade without 101)|upgrade: refused with 426)",
        ".*",
        "-",
    ),
    Explanation(
        "Who may say where a request came from",
        "The gateway alone: each field of the kind is dropped, not those only that it sets.",
        "sent fields",
        "hop: X.*",
        ".*",
        "-",
    ),
    Explanation(
        "Requests framed as they came",
        "What came in chunks goes on in chunks. nginx makes it a length where all of it is there"
        " when it begins.",
        "sent framing",
        ".*",
        "length",
        "chunked",
    ),
    Explanation(
        "Trailers",
        "Passed on in both directions to who has HTTP/1.1 (RFC 9110 6.5.1), but for those that"
        " frame, route, vouch or say how the body is to be read. This nginx drops all.",
        "(sent )?trailers",
        ".*",
        "-",
        "X-.*",
    ),
    Explanation(
        "Expect",
        "From end to end: the application says 100, or does not (RFC 9110 10.1.1). nginx says it"
        " itself, before the application was asked, hides the field from it, and takes the"
        " application's own 100 for something else (see interim answers). A visitor that is refused"
        " is told at once, and the connection is closed, as its body may be on the way.",
        "(answers|sent fields)",
        "expect: .*",
    ),
    Explanation(
        "Interim answers",
        "1xx are passed on, 16 at most, not to HTTP/1.0, never with a length; the final answer"
        " follows. This nginx takes the first for the final one, and so knows no end of the"
        " answer: it closes when the application does. 101 that nobody asked for is a fault of the"
        " application's (RFC 9110 15.2.2): 502.",
        "(answers|ending)",
        "1xx: .*",
    ),
    Explanation(
        "Answers that are not HTTP",
        "502 where nginx passes on what it cannot read, or the part that it can: statuses outside 100"
        " to 599 (RFC 9110 15), other versions, lengths that are none or two, unknown codings, lines"
        " that are no fields. A body with bad chunks is broken off.",
        "answers",
        "(status|answer): .*",
        ".*",
        "(own 502; kept|no answer; broken off)",
    ),
    Explanation(
        "Folded lines of answers",
        "A proxy may refuse them or join them (RFC 9112 5.2). The gateway joins: old applications"
        " are shared, too.",
        "answers",
        "answer: folded",
        "own 502; kept",
        _OK,
    ),
    Explanation(
        "Fields that talk to nginx",
        "To the gateway they say nothing; they are the application's.",
        "fields",
        "answer: what tells nginx something",
        "-",
        "x-accel.*",
    ),
    Explanation(
        "Framing of answers without a body",
        "To HEAD and with 304 the fields say what GET would have got (RFC 9110 8.6, RFC 9112 6.1)."
        " With 204 and 1xx there may be none, and the gateway drops them.",
        "framing",
        "(HEAD|no body): .*",
    ),
    Explanation(
        "Visitors that end their side",
        "TCP may be closed one way. The gateway answers what came whole, carries what an upgraded"
        " connection still says, and says 400 to a request that did not come whole; nginx takes the"
        " end of one direction for the end of both. An answer that is silent for 10 s after that is"
        " given up.",
        "(answers|body)",
        "(early|upgrade|pipeline): .*",
    ),
)
FIRST_AND_LATER: tuple[Explanation, ...] = (
    Explanation(
        "Whose a connection is",
        "The relay reads who is meant from a connection's first head. With a Host that is no share's"
        " it is for the relay's own pages, which do not take other names; afterwards it is for the"
        " gateway, which says that it was opened for another name.",
        "answers",
        "(target: absolute form and an empty Host|version: .*|host: .*)",
    ),
    Explanation(
        "What does not begin as HTTP does",
        "A connection's first byte says whether it is HTTP; what is neither that nor TLS, or has no"
        " head within 16 KiB, is closed without a word.",
        "answers",
        "(target: /aaa.*|field: far too long|line: .*)",
        "no answer; closed; nothing sent on",
    ),
)


def explain(
    differences: list[Difference], explanations: tuple[Explanation, ...]
) -> tuple[dict[Explanation, list[Difference]], list[Difference]]:
    """The differences under what explains them, and those that nothing does."""
    found: dict[Explanation, list[Difference]] = {each: [] for each in explanations}
    unexplained = []
    for difference in differences:
        one = next((each for each in explanations if each.covers(difference)), None)
        if one is None:
            unexplained.append(difference)
        else:
            found[one].append(difference)
    return found, unexplained
