"""The relay's history: what is never in it, who sees whose, and what it may cost."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_READER, _RECORDER = "relay/history/reader.py", "relay/history/recorder.py"
_WRITER = "relay/history/writer.py"
_TEST_READER = "tests/relay/history/test_reader.py"
_TEST_RECORDER = "tests/relay/history/test_recorder.py"
_TEST_STORE = "tests/relay/history/test_store.py"
_TEST_ACCOUNTING = "tests/relay/test_accounting.py"

REMEMBERING = (
    Mutation(
        "queries are kept, and the secrets in them",
        "relay/http_ledger.py",
        'target.partition(b"?")[0].partition(b"#")[0]',
        "target",
        (f"{_TEST_ACCOUNTING}::test_requests_by_either_path_count_alike",),
    ),
    Mutation(
        "who asks for another's history gets it",
        _READER,
        '            where.add("token IN (SELECT value FROM json_each(?))", self._tokens)\n',
        "            pass\n",
        (f"{_TEST_READER}::test_nobody_sees_what_is_others",),
    ),
    Mutation(
        "who has no token sees everybody's history",
        _READER,
        "None if tokens is None else json.dumps(sorted(tokens))",
        "json.dumps(sorted(tokens)) if tokens else None",
        (f"{_TEST_READER}::test_nobody_sees_what_is_others",),
    ),
    Mutation(
        "what is searched for is a pattern",
        _READER,
        r"""        text = text.replace(special, f"\\{special}")""" "\n",
        "        pass\n",
        (f"{_TEST_READER}::test_what_is_searched_for_is_a_text",),
    ),
    Mutation(
        "a path has what moves the cursor",
        "relay/history/rows.py",
        "    if text.isprintable():\n",
        "    if True:\n",
        (f"{_TEST_STORE}::test_nothing_unprintable_is_kept",),
    ),
    Mutation(
        "addresses are kept where they are not wanted",
        _RECORDER,
        'visit.source if self._sources else ""',
        "visit.source",
        (f"{_TEST_RECORDER}::test_bytes_of_what_lasts_are_seen",),
    ),
    Mutation(
        "a full disk fills the memory",
        _RECORDER,
        "        if len(self._batch) >= MAX_ROWS:\n",
        "        if False:\n",
        (f"{_TEST_RECORDER}::test_a_full_disk_costs_rows_and_nothing_else",),
    ),
    Mutation(
        "what ended while rows were left out lasts for ever",
        _RECORDER,
        "        has_gaps = self._has_gaps or self._writer.has_gaps\n",
        "        has_gaps = False\n",
        (f"{_TEST_RECORDER}::test_a_file_that_breaks_meanwhile_is_set_aside",),
    ),
    Mutation(
        "a broken file ends the history",
        _WRITER,
        "        if code in _UNUSABLE:\n",
        "        if False:\n",
        (f"{_TEST_RECORDER}::test_a_broken_file_is_set_aside",),
    ),
    Mutation(
        "what is old is kept",
        "relay/history/store.py",
        '"requests": "at < ?1"}',
        '"requests": "0"}',
        (f"{_TEST_STORE}::test_what_is_old_is_forgotten",),
    ),
)
