"""Which sites a share has, what their servers are told, what people read of them."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_FIND = "vshare/web/find_sites.py"
_PROBE = "vshare/http_probe.py"
_REWRITING = "vshare/web/rewriting.py"
_TITLES = "vshare/web/titles.py"
_TEST_FIND = "tests/vshare/web/test_find_sites.py"
_TEST_PROBE = "tests/vshare/test_http_probe.py"
_TEST_REWRITING = "tests/vshare/web/test_rewriting.py"
_TEST_TITLES = "tests/vshare/web/test_titles.py"

SITING = (
    Mutation(
        "what lets everybody in is public by the URL",
        _FIND,
        'if report.danger_at("tcp", each.candidate.port) is None',
        "if True",
        (f"{_TEST_FIND}::test_what_lets_everybody_in_is_no_site",),
    ),
    Mutation(
        "ports are public that were not named beside the one that was",
        _FIND,
        "return not (named or options.ports or self._asks)",
        "return not (options.ports or self._asks)",
        (f"{_TEST_FIND}::test_which_ports_are_allowed",),
    ),
    Mutation(
        "what may be the machine's own is public where that is not known",
        _FIND,
        "return not (named or options.ports or self._asks)",
        "return not (named or options.ports)",
        (f"{_TEST_FIND}::test_nothing_unasked_where_it_is_not_known_what_is_private",),
    ),
    Mutation(
        "virtual hosts of the machine's loopback are public",
        _FIND,
        "if not private or named or spoken.host == LOOPBACK:",
        "if True:",
        (f"{_TEST_FIND}::test_what_is_for_the_loopback_alone",),
    ),
    Mutation(
        "Docker's and other rulers' ports are public unasked",
        _PROBE,
        "if port not in PRIVATE_PORTS | private",
        "if True",
        (f"{_TEST_PROBE}::test_what_rules_the_machine_is_not_asked_unless_it_is_named",),
    ),
    Mutation(
        "an origin with the visitor's host and another scheme is the visitor's",
        _REWRITING,
        "if named == visit:",
        "if named.host == visit.host:",
        (f"{_TEST_REWRITING}::test_a_visitor_without_tls_beside_one_with",),
    ),
    Mutation(
        "any host that ends like the machine's is its domain",
        _REWRITING,
        'host.endswith("." + domain)',
        "host.endswith(domain)",
        (f"{_TEST_REWRITING}::test_cookies_of_the_machines_domain_become_the_sites",),
    ),
    Mutation(
        "a title moves the terminal's cursor",
        _TITLES,
        "if char.isprintable()",
        "if True",
        (f"{_TEST_TITLES}::test_titles_of_pages",),
    ),
)
