"""Who may open a share's sites, and what its own pages do with what visitors send."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ACCESS = "vshare/web/access.py"
_COOKIES = "vshare/web/cookies.py"
_FIRST = "vshare/web/interstitial.py"
_PAGES = "tunnel/http_pages.py"
_PASSCODE = "vshare/web/passcode.py"
_SETUP = "vshare/web/access_setup.py"
_STAGE = "vshare/web/stage.py"
_TRIES = "vshare/web/tries.py"
_VISIT = "vshare/web/visit.py"
_VISITS = "vshare/web/visits.py"
_TEST_ACCESS = "tests/vshare/web/test_access.py"
_TEST_COOKIES = "tests/vshare/web/test_cookies.py"
_TEST_FIRST = "tests/vshare/web/test_interstitial.py"
_TEST_PAGES = "tests/tunnel/test_http_pages.py"
_TEST_PASSCODE = "tests/vshare/web/test_passcode.py"
_TEST_SETUP = "tests/vshare/web/test_access_setup.py"
_TEST_STAGE = "tests/vshare/web/test_stage.py"
_TEST_TRIES = "tests/vshare/web/test_tries.py"
_TEST_VISIT = "tests/vshare/web/test_visit.py"
_TEST_VISITS = "tests/vshare/web/test_visits.py"

_ADDRESSES = (
    Mutation(
        "a visitor without an address comes in",
        _ACCESS,
        "if address is not None and self._may_come(address):",
        "if address is None or self._may_come(address):",
        (f"{_TEST_ACCESS}::test_which_addresses_may_come",),
    ),
    Mutation(
        "--deny is not asked",
        _ACCESS,
        "if any(address in network for network in self._deny):",
        "if False:",
        (f"{_TEST_ACCESS}::test_which_addresses_may_come",),
    ),
    Mutation(
        "--allow lets everybody in",
        _ACCESS,
        "return not self._allow or any(address in network for network in self._allow)",
        "return True",
        (f"{_TEST_ACCESS}::test_which_addresses_may_come",),
    ),
    Mutation(
        "an IPv4 address in IPv6's clothes passes by the lists",
        _VISIT,
        "return mapped or address",
        "return address",
        (f"{_TEST_ACCESS}::test_which_addresses_may_come",),
    ),
    Mutation(
        "the first of two addresses is believed",
        _VISIT,
        "if len(values) > 1:",
        "if False:",
        (f"{_TEST_VISIT}::test_two_addresses_are_none",),
    ),
)
_PASSWORDS = (
    Mutation(
        "any password is the right one",
        _ACCESS,
        "right = hmac.compare_digest(_digest(given), self._expected)",
        "right = True",
        (f"{_TEST_ACCESS}::test_wrong_ones",),
    ),
    Mutation(
        "the machine sees the site's password",
        _ACCESS,
        'head.drop(b"Authorization")',
        "pass",
        (f"{_TEST_ACCESS}::test_who_has_it_comes_in_and_the_machine_does_not_see_it",),
    ),
    Mutation(
        "passwords are tried without end",
        _ACCESS,
        "if not self._tries.count(source_of_visit(head), right=right):",
        "if not right:",
        (f"{_TEST_ACCESS}::test_passwords_cannot_be_tried_without_end",),
    ),
    Mutation(
        "credentials are read loosely",
        _ACCESS,
        "validate=True",
        "validate=False",
        (f"{_TEST_ACCESS}::test_tokens_are_read_strictly",),
    ),
    Mutation(
        "when no try is left the right password still works",
        _TRIES,
        "            self._attempts.take(source, now)\n",
        "            right or self._attempts.take(source, now)\n",
        (f"{_TEST_TRIES}::test_when_none_is_left_the_right_one_is_refused_as_well",),
    ),
    Mutation(
        "who was right may guess for ever",
        _TRIES,
        "                known.wrong += 1\n",
        "                pass\n",
        (f"{_TEST_TRIES}::test_who_was_right_cannot_guess_for_ever",),
    ),
    Mutation(
        "being right again forgives what was wrong",
        _TRIES,
        "self._known.setdefault(source, _Known())",
        "self._known[source] = _Known()",
        (f"{_TEST_TRIES}::test_who_was_right_cannot_guess_for_ever",),
    ),
    Mutation(
        "strangers who guess keep those out who were right",
        _TRIES,
        "if known is not None and known.wrong < KNOWN_MAY_ERR:",
        "if False:",
        (f"{_TEST_TRIES}::test_who_was_right_does_not_feel_the_strangers",),
    ),
    Mutation(
        "a password on the command line is taken",
        _SETUP,
        "    if colon:\n        raise UsageError(\n            \"--http-auth takes",
        "    if False:\n        raise UsageError(\n            \"--http-auth takes",
        (f"{_TEST_SETUP}::test_users_and_sharers",),
    ),
)  # fmt: skip
_CODES = (
    Mutation(
        "any passcode is the right one",
        _PASSCODE,
        "right = hmac.compare_digest(_digest(text), self._expected)",
        "right = True",
        (f"{_TEST_PASSCODE}::test_a_wrong_one_is_asked_for_again",),
    ),
    Mutation(
        "passcodes are tried without end",
        _PASSCODE,
        "return self._tries.count(source_of_visit(head), right=right)",
        "return right",
        (f"{_TEST_PASSCODE}::test_it_cannot_be_tried_without_end",),
    ),
    Mutation(
        "the machine sees the passcode",
        _PASSCODE,
        "        head.drop(HEADER)\n",
        "",
        (f"{_TEST_PASSCODE}::test_programs_send_it_in_a_field_that_the_machine_does_not_see",),
    ),
    Mutation(
        "another site's page spends the tries of its visitors",
        _PASSCODE,
        "if is_from_elsewhere(head):",
        "if False:",
        (f"{_TEST_PASSCODE}::test_forms_of_other_sites_are_no_tries",),
    ),
    Mutation(
        "the passcode's page leads to another site",
        _PASSCODE,
        'to = safe_place(fields.get("to", "/").encode())',
        'to = fields.get("to", "/").encode()',
        (f"{_TEST_PASSCODE}::test_nobody_is_led_to_another_site",),
    ),
    Mutation(
        "a join code can be the passcode",
        _PASSCODE,
        "    if is_like_join_code(text):\n",
        "    if False:\n",
        (f"{_TEST_PASSCODE}::test_what_cannot_be_a_passcode",),
    ),
    Mutation(
        "`//host` is a path of the site",
        _VISIT,
        r'rb"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?"',
        r'rb"/(?:[!-\[\]-~][!-\[\]-~]*)?"',
        (f"{_TEST_VISIT}::test_other_places",),
    ),
    Mutation(
        "a backslash is a character of a path",
        _VISIT,
        r'rb"/(?:[!-.0-\[\]-~][!-\[\]-~]*)?"',
        r'rb"/(?:[!-.0-~][!-~]*)?"',
        (f"{_TEST_VISIT}::test_other_places",),
    ),
    Mutation(
        "a form may be as long as it likes",
        _STAGE,
        "if len(filling.data) > MAX_FORM:",
        "if False:",
        (f"{_TEST_STAGE}::test_a_form_is_as_long_as_is_allowed",),
    ),
    Mutation(
        "the machine sees a form that is not for it",
        _STAGE,
        "size = body.take(data, filling.take)\n",
        "size = body.take(data, filling.take)\n            stage.to_machine(data[:size])\n",
        (f"{_TEST_STAGE}::test_a_form_is_answered_here",),
    ),
)  # fmt: skip
_SIGNED = (
    Mutation(
        "any cookie is good",
        _COOKIES,
        "if not hmac.compare_digest(signature, self._sign(name, host, expires)):",
        "if False:",
        (f"{_TEST_COOKIES}::test_another_key_or_kind_is_another_cookie",),
    ),
    Mutation(
        "a cookie lasts for ever",
        _COOKIES,
        "if int(until) > self._clock() else None",
        "",
        (f"{_TEST_COOKIES}::test_it_ends",),
    ),
    Mutation(
        "a cookie's end is not signed",
        _COOKIES,
        "said = b\"\\n\".join((name, host, expires))",
        "said = b\"\\n\".join((name, host))",
        (f"{_TEST_COOKIES}::test_its_end_cannot_be_moved",),
    ),
    Mutation(
        "a cookie is good at every site",
        _COOKIES,
        "said = b\"\\n\".join((name, host, expires))",
        "said = b\"\\n\".join((name, expires))",
        (f"{_TEST_COOKIES}::test_another_host_is_another_site",),
    ),
    Mutation(
        "a cookie that was overheard over HTTP is good over HTTPS",
        _COOKIES,
        "said = b\"\\n\".join((name, host, expires))",
        "said = b\"\\n\".join((host, expires))",
        (f"{_TEST_COOKIES}::test_what_was_overheard_over_http_is_worth_nothing_over_https",),
    ),
    Mutation(
        "other sites can set the cookie",
        _COOKIES,
        "return b\"__Host-\" + self._name if is_https(head) else self._name",
        "return self._name",
        (f"{_TEST_COOKIES}::test_over_https_no_other_site_can_set_it",),
    ),
    Mutation(
        "the cookie is sent over plain HTTP, too",
        _COOKIES,
        "b\"; Secure\" if is_https(head) else b\"\"",
        "b\"\"",
        (f"{_TEST_COOKIES}::test_over_https_no_other_site_can_set_it",),
    ),
    Mutation(
        "the machine sees the share's cookies",
        _COOKIES,
        "                if key not in ours:\n",
        "                if True:\n",
        (f"{_TEST_COOKIES}::test_the_machine_sees_its_own_cookies_alone",),
    ),
)  # fmt: skip
_SHOWN = (
    Mutation(
        "another site's page skips the first page",
        _FIRST,
        "if is_from_elsewhere(head):",
        "if False:",
        (f"{_TEST_FIRST}::test_other_sites_cannot_skip_it",),
    ),
    Mutation(
        "any link is an invite link",
        _FIRST,
        "if not any(hmac.compare_digest(each, self._token) for each in kept):",
        "if not any(each.startswith(PARAMETER) for each in kept):",
        (f"{_TEST_FIRST}::test_other_tokens_are_the_machines",),
    ),
    Mutation(
        "an invite link leads to another site",
        _FIRST,
        "return redirect(safe_place(head.target), [self._cookies.make(head)])",
        "return redirect(head.target, [self._cookies.make(head)])",
        (f"{_TEST_FIRST}::test_nobody_is_led_to_another_site",),
    ),
    Mutation(
        "the first page answers programs",
        _VISIT,
        "return media_of(head) is Media.HTML",
        "return True",
        (f"{_TEST_FIRST}::test_programs_do_not_see_it",),
    ),
    Mutation(
        "texts of pages are markup",
        _PAGES,
        "paragraphs = [f\"<p>{html.escape(text)}</p>\" for text in page.paragraphs]",
        "paragraphs = [f\"<p>{text}</p>\" for text in page.paragraphs]",
        (f"{_TEST_PAGES}::test_html_has_nothing_of_others_in_it",),
    ),
    Mutation(
        "titles of pages are markup",
        _PAGES,
        "title, foot = html.escape(page.title), html.escape(page.foot)",
        "title, foot = page.title, html.escape(page.foot)",
        (f"{_TEST_PAGES}::test_html_has_nothing_of_others_in_it",),
    ),
    Mutation(
        "where a visitor wants to go is markup",
        "vshare/web/pages.py",
        'place = html.escape(to.decode("ascii"))',
        'place = to.decode("ascii")',
        (f"{_TEST_PASSCODE}::test_a_browser_is_asked",),
    ),
    Mutation(
        "texts of pages draw on terminals",
        _PAGES,
        'each if each.isprintable() else "?"',
        "each",
        (f"{_TEST_PAGES}::test_text_is_for_terminals",),
    ),
    Mutation(
        "pages are framed by other sites",
        _PAGES,
        "; frame-ancestors 'none'\"",
        "\"",
        (f"{_TEST_PAGES}::test_only_the_pages_own_style_is_applied",),
    ),
)  # fmt: skip

_REACHED = (
    Mutation(
        "the machine is connected to for whoever comes",
        _VISITS,
        "if not await waiting.has_request():",
        "if False:",
        (f"{_TEST_VISITS}::test_who_is_not_let_in_does_not_touch_the_machine",),
    ),
    Mutation(
        "the machine is left connected for a visitor who has gone",
        _VISITS,
        "            machine.reset(Code.CLOSED)\n",
        "            pass\n",
        (f"{_TEST_VISITS}::test_a_visitor_who_goes",),
    ),
    Mutation(
        "a visitor fills the memory while the machine is connected to",
        "vshare/web/waiting.py",
        "        self.peer.pause_reading()\n        self._decide()",
        "        self._decide()",
        (f"{_TEST_VISITS}::test_what_comes_while_the_way_is_opened_is_kept_in_order",),
    ),
)

_TOLD = (
    Mutation(
        "the sharer is not told of who guesses",
        _TRIES,
        "            (self._guessing.right if right else self._guessing.wrong)(source)\n",
        "            pass\n",
        ("tests/vshare/web/test_guessing.py::test_only_what_was_compared_is_a_try",),
    ),
    Mutation(
        "who guesses fills the sharer's screen",
        "vshare/web/guessing.py",
        "if count >= TOLD_AFTER and len(self._told) < MAX_TOLD:",
        "if count >= TOLD_AFTER:",
        ("tests/vshare/web/test_guessing.py::test_a_crowd_of_who_goes_on_fills_no_screen",),
    ),
    Mutation(
        "a certificate that browsers turn away from is found when the share is registered",
        "vshare/options.py",
        "            check_certificate(self.certificate, self.key,"
        " datetime.datetime.now(datetime.UTC))\n",
        "            pass\n",
        (
            "tests/vshare/web/test_site_certificate.py"
            "::test_what_no_browser_would_take_is_refused_before_anything_is_shared",
        ),
    ),
    Mutation(
        "where Host is kept, what leads to the site is led elsewhere",
        "vshare/web/rewriting.py",
        "if not named[1] or self._is_public(",
        "if not named[1] and self._is_public(",
        (
            "tests/vshare/web/test_rewriting.py"
            "::test_the_servers_port_under_the_visitors_host_leads_to_the_site",
        ),
    ),
)

VISITING = (*_ADDRESSES, *_PASSWORDS, *_CODES, *_SIGNED, *_SHOWN, *_REACHED, *_TOLD)
