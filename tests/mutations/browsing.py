"""The guest page: who is let in, what other pages can do to it, what its visitors may do."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PAGE = "vshare/guest_page/page.py"
_DOOR = "vshare/guest_page/door.py"
_ORIGINS = "vshare/guest_page/origins.py"
_SESSIONS = "vshare/guest_page/sessions.py"
_SOCKET = "vshare/guest_page/web_socket.py"
_TALKS = "vshare/guest_page/talks.py"
_TICKETS = "vshare/web/tickets.py"
_VISITORS = "vshare/guest_page/visitors.py"
_VISITS = "vshare/web/visits.py"
_TEST_PAGE = "tests/vshare/guest_page/test_page.py"
_TEST_DOOR = "tests/vshare/guest_page/test_door.py"
_TEST_SESSIONS = "tests/vshare/guest_page/test_sessions.py"
_TEST_SOCKET = "tests/vshare/guest_page/test_web_socket.py"
_TEST_VISITORS = "tests/vshare/guest_page/test_visitors.py"
_TEST_TICKETS = "tests/vshare/web/test_tickets.py"

BROWSING = (
    Mutation(
        "a WebSocket and a form may come from any page",
        _ORIGINS,
        'return head.values(b"origin") == [scheme + authority_of(head)]',
        "return True",
        (
            f"{_TEST_PAGE}::test_a_web_socket_from_another_origin_is_refused",
            f"{_TEST_DOOR}::test_a_form_from_elsewhere_is_not_read",
        ),
    ),
    Mutation(
        "the machine's own page may ask the guest page for anything",
        _ORIGINS,
        'if head.values(b"sec-fetch-site") in _OURS:',
        "if True:",
        (f"{_TEST_PAGE}::test_pages_of_the_machine_cannot_ask_in_a_visitors_name",),
    ),
    Mutation(
        "the guest page needs no passcode",
        _DOOR,
        "if self._sessions.find(head) is None:",
        "if False:",
        (f"{_TEST_DOOR}::test_no_file_is_shown_to_who_is_not_in",),
    ),
    Mutation(
        "wrong passcodes of the guest page are not counted",
        _DOOR,
        "right = self._tries.count(source_of_visit(head), right=right)",
        "pass",
        (f"{_TEST_DOOR}::test_wrong_passcodes_are_limited",),
    ),
    Mutation(
        "answers to a visitor who does not read them pile up",
        "vshare/guest_page/web_socket.py",
        "        if frame.opcode is Opcode.PING and self.is_full:",
        "        if False:",
        (
            "tests/vshare/guest_page/test_web_socket.py"
            "::test_who_asks_and_does_not_read_the_answers_is_out",
        ),
    ),
    Mutation(
        "visitors' names are taken as they come",
        _DOOR,
        "clean_name(wanted, _PUNCTUATION)[:MAX_NAME]",
        "wanted[:MAX_NAME]",
        (f"{_TEST_DOOR}::test_names_mean_nothing_to_terminals_and_pages",),
    ),
    Mutation(
        "the guest page's cookie counts wherever it is shown",
        _SESSIONS,
        "if session is None or session.place != _place(head):",
        "if session is None:",
        (f"{_TEST_SESSIONS}::test_it_counts_for_its_host_and_its_scheme",),
    ),
    Mutation(
        "the guest page's cookie never ends",
        _SESSIONS,
        "if session.ends_at > self._clock():",
        "if True:",
        (f"{_TEST_SESSIONS}::test_it_ends",),
    ),
    Mutation(
        "who leaves the guest page keeps what is open",
        _SESSIONS,
        "for close in list(self.open):",
        "for close in ():",
        (f"{_TEST_SESSIONS}::test_who_is_struck_out_is_out_with_all_that_is_open",),
    ),
    Mutation(
        "every visitor of the guest page may type",
        _PAGE,
        'read_only = shown.terminals != "write"',
        "read_only = False",
        (f"{_TEST_SOCKET}::test_visitors_type_nowhere_unless_the_sharer_said_so",),
    ),
    Mutation(
        "terminals are open to browsers where they are not shown",
        _PAGE,
        'path == NEWS or (path == TERMINAL and self._shown.terminals != "none")',
        "path in (NEWS, TERMINAL)",
        (f"{_TEST_PAGE}::test_no_terminals_where_the_sharer_shows_none",),
    ),
    Mutation(
        "a browser may open as many WebSockets as it likes",
        _PAGE,
        "return len(session.open) < MAX_OPEN and len(self._sockets) < MAX_SOCKETS",
        "return True",
        (f"{_TEST_PAGE}::test_it_has_so_many_sockets",),
    ),
    Mutation(
        "the passcode is asked for without TLS where there is TLS",
        _PAGE,
        "if self._has_tls and not is_https(head):",
        "if False:",
        (f"{_TEST_PAGE}::test_without_tls_it_is_not_opened_where_there_is_tls",),
    ),
    Mutation(
        "what browsers say is not bounded",
        _SOCKET,
        "ServerProtocol(max_size=MAX_MESSAGE)",
        "ServerProtocol(max_size=None)",
        (f"{_TEST_SOCKET}::test_what_is_no_message_ends_the_socket",),
    ),
    Mutation(
        "what a slow browser does not take is queued",
        _TALKS,
        "return not self._socket.is_full",
        "return True",
        (f"{_TEST_SOCKET}::test_who_does_not_read_skips_to_the_present",),
    ),
    Mutation(
        "what is shared by name is public",
        "vshare/guest_page/served_sites.py",
        "visits.add(site, self._rules)",
        "visits.add(site, ())",
        (
            "tests/vshare/guest_page/test_served_sites.py"
            "::test_what_is_shared_by_name_becomes_a_site_that_asks",
        ),
    ),
    Mutation(
        "a ticket past a site's passcode is good at every site",
        _TICKETS,
        "found[0] == host and",
        "",
        (f"{_TEST_TICKETS}::test_a_ticket_is_good_once_and_at_its_host",),
    ),
    Mutation(
        "a ticket is good again and again",
        _TICKETS,
        "found = self._tickets.pop(_hash(token), None)",
        "found = self._tickets.get(_hash(token))",
        (f"{_TEST_TICKETS}::test_a_ticket_is_good_once_and_at_its_host",),
    ),
    Mutation(
        "who looks on sees the guest page's cookies",
        _VISITS,
        "rules, lookers = self._own[site.label].rules, _NOBODY",
        "rules, lookers = self._own[site.label].rules, self._gallery",
        (f"{_TEST_PAGE}::test_nobody_looks_on",),
    ),
    Mutation(
        "who was kicked keeps what is open",
        _SESSIONS,
        "        session.end(why)\n",
        "        pass\n",
        (f"{_TEST_VISITORS}::test_who_is_kicked_is_told_and_asked_again",),
    ),
    Mutation(
        "who was kicked keeps the cookies of sites",
        "vshare/web/passcode.py",
        "return self._tickets.still_in(owner, host_of(head))",
        "return True",
        (f"{_TEST_VISITORS}::test_who_goes_to_a_site_is_there_until_it_asks_no_more",),
    ),
    Mutation(
        "who was kicked goes on with what is under way at a site",
        _VISITORS,
        "        self.on_removed(session)\n",
        "",
        (f"{_TEST_VISITORS}::test_what_it_has_open_at_a_site_is_cut",),
    ),
    Mutation(
        "a new passcode puts nobody out",
        _PAGE,
        "out = 0 if keep else self.visitors.remove_all(CHANGED)",
        "out = 0",
        (f"{_TEST_VISITORS}::test_the_passcode_can_be_changed",),
    ),
    Mutation(
        "the page is open although it was closed",
        _PAGE,
        "if not self._page.is_open:",
        "if False:",
        (f"{_TEST_VISITORS}::test_it_can_be_closed_and_opened_again",),
    ),
)
