"""The dashboard: who may see it, what strangers' requests can do there, what it may cost."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_GUARD = "vshare/dashboard/guard.py"
_DOORKEEPER = "vshare/dashboard/doorkeeper.py"
_APP = "vshare/dashboard/app.py"
_CURL = "vshare/dashboard/curl.py"
_CONTENT = "vshare/dashboard/content.py"
_LOG = "vshare/dashboard/request_log.py"
_TESTS = "tests/vshare/dashboard"

LOOKING = (
    Mutation(
        "the dashboard is shown without a cookie",
        _GUARD,
        "if cookie is None and not doorkeeper.knows(headers):",
        "if False:",
        (f"{_TESTS}/test_server.py::test_without_a_cookie_there_is_nothing",),
    ),
    Mutation(
        "a name that leads to 127.0.0.1 opens the dashboard",
        _DOORKEEPER,
        "if len(hosts) != 1 or hosts[0] not in self._hosts:",
        "if len(hosts) != 1:",
        (f"{_TESTS}/test_doorkeeper.py::test_other_sites_are_not",),
    ),
    Mutation(
        "another site's page presses the dashboard's buttons",
        _DOORKEEPER,
        'if origins != [b"http://" + hosts[0]] and (origins or not reads):',
        "if False:",
        (f"{_TESTS}/test_server.py::test_other_sites_get_nothing",),
    ),
    Mutation(
        "another site's page reads the dashboard's WebSocket",
        _DOORKEEPER,
        "reads = method in _NAVIGATIONS and not web_socket",
        "reads = method in _NAVIGATIONS",
        (f"{_TESTS}/test_doorkeeper.py::test_other_sites_are_not",),
    ),
    Mutation(
        "a link to the dashboard is good twice",
        _DOORKEEPER,
        "        self._tokens.remove(found[0])\n",
        "",
        (f"{_TESTS}/test_server.py::test_a_link_opens_the_page_once",),
    ),
    Mutation(
        "the dashboard's cookie reaches this host's other web servers",
        _DOORKEEPER,
        "Path={self.path};",
        "Path=/;",
        (f"{_TESTS}/test_doorkeeper.py::test_a_token_is_used_up",),
    ),
    Mutation(
        "the dashboard shows the share's code",
        _APP,
        "if not isinstance(wanted, ALLOWED):",
        "if False:",
        (f"{_TESTS}/test_server.py::test_other_commands_are_for_terminals",),
    ),
    Mutation(
        "a visitor's words run in the sharer's shell",
        _CURL,
        '''return "'" + text.replace("'", "'\\\\''") + "'"''',
        '''return "'" + text + "'"''',
        (f"{_TESTS}/test_curl.py::test_strangers_words_stay_words",),
    ),
    Mutation(
        "a visitor's words move the sharer's terminal",
        _CURL,
        "return text if text.isprintable() else None",
        "return text",
        (f"{_TESTS}/test_curl.py::test_strangers_words_stay_words",),
    ),
    Mutation(
        "a compressed bomb bursts in the dashboard",
        _CONTENT,
        ".decompress(data, MAX_DECODED)",
        ".decompress(data)",
        (f"{_TESTS}/test_content.py::test_a_bomb_is_let_out_in_part",),
    ),
    Mutation(
        "visitors fill the share's memory while somebody looks",
        _LOG,
        "while self.size > MAX_KEPT:",
        "while False:",
        (f"{_TESTS}/test_request_log.py::test_all_together_have_a_limit",),
    ),
)
