"""Own domains: who may have one, and what of the DNS is believed."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_NAMES = "tunnel/own_domains.py"
_CLAIMS = "relay/own_domains/claims.py"
_DESK = "relay/own_domains/desk.py"
_LOOKUP = "relay/own_domains/lookup.py"
_TEST_NAMES = "tests/tunnel/test_own_domains.py"
_TEST_CLAIMS = "tests/relay/own_domains/test_claims.py"
_TEST_LOOKUP = "tests/relay/own_domains/test_lookup.py"
_TEST_OWN = "tests/relay/own_domains/test_own_domains.py"

OWNING = (
    Mutation(
        "a record is good for every share",
        _NAMES,
        "_SAID + key_hash + host.encode()",
        "_SAID + host.encode()",
        (f"{_TEST_OWN}::test_nobody_takes_over_what_points_here",),
    ),
    Mutation(
        "a record is good for every host of the zone",
        _NAMES,
        "_SAID + key_hash + host.encode()",
        "_SAID + key_hash",
        (f"{_TEST_NAMES}::test_a_record_is_for_one_key_and_one_host",),
    ),
    Mutation(
        "a label may look encoded and be nothing",
        _NAMES,
        '        if label[2:4] == "--":\n            _check_encoded(label)\n',
        "        pass\n",
        (f"{_TEST_NAMES}::test_what_is_none",),
    ),
    Mutation(
        "a domain needs no record",
        _CLAIMS,
        "        return self._texts is not None and challenge_value(key_hash, self.host)"
        " in self._texts\n",
        "        return self._texts is not None\n",
        (f"{_TEST_CLAIMS}::test_a_record_of_another_host_or_key_is_none",),
    ),
    Mutation(
        "who proves it later takes it from who has it",
        _CLAIMS,
        "        if holder is not None and self._proves(holder.key_hash):\n",
        "        if holder is not None and not self.asking:\n",
        (f"{_TEST_CLAIMS}::test_who_has_it_is_not_who_asked_first",),
    ),
    Mutation(
        "a record that is gone takes nothing away",
        _CLAIMS,
        "            if now - holder.gone_since >= GONE_AFTER:\n",
        "            if now < holder.gone_since:\n",
        (f"{_TEST_CLAIMS}::test_a_record_that_is_gone_is_waited_for",),
    ),
    Mutation(
        "the relay's own names can be had",
        "relay/own_domains/rules.py",
        'if own and (text == own or text.endswith(f".{own}") or own.endswith(f".{text}")):',
        "if own and text == own:",
        (f"{_TEST_CLAIMS}::test_what_is_the_relays_is_nobodys",),
    ),
    Mutation(
        "a name that another key has by now keeps its domains",
        _DESK,
        "        if share is not None and share.key_hash != holder.key_hash:\n",
        "        if share is not None and not share.key_hash:\n",
        (f"{_TEST_OWN}::test_a_name_that_is_anothers_by_now_does_not_have_its_domain",),
    ),
    Mutation(
        "a connection goes on to who had the domain",
        "relay/doors.py",
        "            if host != self._host or self._site is None or self._is_own:\n",
        "            if host != self._host or self._site is None:\n",
        (f"{_TEST_OWN}::test_a_connection_that_lasts_follows_the_domain",),
    ),
    Mutation(
        "there may be any number of domains",
        _DESK,
        "        if is_new and self._is_full(now):\n",
        "        if is_new and self._is_full(now) and False:\n",
        (f"{_TEST_OWN}::test_only_so_many_are_asked_for",),
    ),
    Mutation(
        "the relay's application answers for a share's own domain",
        "relay/app.py",
        "        return bool(sites.named(strip_port(_host_of(scope)))) and not (\n",
        "        return _host_of(scope).endswith(sites.domain) and not (\n",
        (f"{_TEST_OWN}::test_what_a_connection_was_opened_for_is_all_that_it_is_for",),
    ),
    Mutation(
        "a record behind a CNAME counts",
        _LOOKUP,
        '    return frozenset(b"".join(each.strings).decode("latin-1") for each in records or ())'
        "\n",
        "    found = [each for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT"
        " for each in rrset]\n"
        '    return frozenset(b"".join(each.strings).decode("latin-1") for each in found)\n',
        (f"{_TEST_LOOKUP}::test_what_is_elsewhere_is_not_taken_for_it",),
    ),
    Mutation(
        "an answer of any size is read",
        _LOOKUP,
        "        if size > MAX_ANSWER:\n",
        "        if size > 65_535:\n",
        (f"{_TEST_LOOKUP}::test_what_is_huge_is_not_read",),
    ),
    Mutation(
        "an answer to another question is believed",
        _LOOKUP,
        "    if not query.is_response(answer):\n",
        "    if not answer.question:\n",
        (f"{_TEST_LOOKUP}::test_with_tcp_an_answer_to_another_question_is_none",),
    ),
    Mutation(
        "a resolver that fails proves that there is no record",
        _LOOKUP,
        "                if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):\n",
        "                if code is not None:\n",
        (f"{_TEST_LOOKUP}::test_a_resolver_that_does_not_know_proves_nothing",),
    ),
    Mutation(
        "a failed order is made again at once",
        "relay/own_domains/certificates.py",
        "            wanted.not_before = asyncio.get_running_loop().time() + wanted.pause\n",
        "            wanted.not_before = asyncio.get_running_loop().time()\n",
        (
            "tests/relay/own_domains/test_certificates.py"
            "::test_failures_are_told_and_tried_again_less_and_less_often",
        ),
    ),
    Mutation(
        "orders are not bounded",
        "relay/own_domains/certificates.py",
        "        if len(self._orders) == MAX_ORDERS:\n",
        "        if len(self._orders) > MAX_ORDERS:\n",
        ("tests/relay/own_domains/test_certificates.py::test_all_of_them_are_bounded",),
    ),
    Mutation(
        "a proof of long ago is believed after a restart",
        _DESK,
        "            if not 0 <= age < REMEMBERED:\n",
        "            if age < 0:\n",
        ("tests/relay/own_domains/test_restart.py::test_only_what_was_proven_lately_is_believed",),
    ),
    Mutation(
        "one account orders certificates until nobody can",
        "relay/own_domains/certificates.py",
        "        return orders[0] + DAY if orders and len(orders) >= MAX_OF_ONE else 0.0\n",
        "        return 0.0\n",
        (
            "tests/relay/own_domains/test_certificates.py"
            "::test_one_account_leaves_the_others_their_orders",
        ),
    ),
)
