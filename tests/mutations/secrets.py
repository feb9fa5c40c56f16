"""The SSH key, invites, the audit log, the control socket; the guest's `ssh`."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_SSH = "vshare/ssh_sharing.py"
_TRIES = "vshare/ssh_tries.py"
_HANDOVER = "tunnel/key_handover.py"
_INVITES = "vshare/invites.py"
_RECEPTION = "vshare/reception.py"
_APPROVALS = "vshare/approvals.py"
_CHAIN = "vshare/audit_chain.py"
_CONTROL = "tunnel/control_socket.py"
_RUN = "tunnel/run_directory.py"
_COUNT = "        self._tries.count(guest.fingerprint)  # hanging up now is a guess as well\n"
_TEST_SSH = "tests/vshare/test_ssh_sharing.py"
_TEST_HANDOVER = "tests/tunnel/test_key_handover.py"
_TEST_INVITES = "tests/vshare/test_invites.py"
_TEST_RECEPTION = "tests/vshare/test_reception.py"
_TEST_CHAIN = "tests/vshare/test_audit_chain.py"
_TEST_CONTROL = "tests/tunnel/test_control_socket.py"

SECRETS = (
    Mutation(
        "a wrong SSH password costs no try",
        _SSH,
        _COUNT,
        "",
        (f"{_TEST_SSH}::test_three_tries_and_no_more",),
        (("        self._tries.succeeded(guest.fingerprint)\n", ""),),
    ),
    Mutation(
        "who has no tries left may go on",
        _SSH,
        "        self._tries.require(guest.fingerprint)\n",
        "",
        (f"{_TEST_SSH}::test_three_tries_and_no_more",),
        (
            (
                _COUNT,
                "",
            ),
            ("        self._tries.succeeded(guest.fingerprint)\n", ""),
        ),
    ),
    Mutation(
        "new names have new tries, without end",
        _TRIES,
        "        return self.failures >= self._in_all\n",
        "        return False\n",
        (f"{_TEST_SSH}::test_a_crowd_of_new_names_is_locked_out",),
    ),
    Mutation(
        "a one-time key is handed out again and again",
        _SSH,
        "            self._holder = guest\n",
        "            pass\n",
        (f"{_TEST_SSH}::test_of_ten_at_the_same_instant_one_gets_the_one_time_key",),
    ),
    Mutation(
        "a one-time key stays in the machine",
        _SSH,
        '            self._spawn(self._use_up(), "one-time key\'s end")\n',
        "            pass\n",
        ("tests/malicious_relay/test_ssh_key.py::test_a_one_time_key_is_used_again",),
    ),
    Mutation(
        "a one-time key's holder may open SSH for ever",
        _SSH,
        "        guest.has_ssh_key = False\n",
        "        pass\n",
        ("tests/malicious_relay/test_ssh_key.py::test_a_one_time_key_is_used_again",),
    ),
    Mutation(
        "the gateway is handed the key",
        _SSH,
        "            if guest.role is not Role.GUEST:\n",
        "            if False:\n",
        (f"{_TEST_SSH}::test_the_gateway_gets_no_key",),
    ),
    Mutation(
        "the gateway may ask for the key",
        "vshare/streams.py",
        "        if guest.role is not Role.GUEST:\n            raise RefusedError(Code.NOT_ALLOWED,"
        ' "SSH is for guests")',
        '        if False:\n            raise RefusedError(Code.NOT_ALLOWED, "SSH is for guests")',
        ("tests/vshare/test_streams.py::test_the_gateway_gets_no_key",),
    ),
    Mutation(
        "the key stays in the machine when the share ends",
        _SSH,
        "        self._wipe()\n        try:\n            await self._take_back()\n",
        "        self._wipe()\n        try:\n            pass\n",
        (f"{_TEST_SSH}::test_the_key_is_in_the_machine_for_as_long_as_the_share",),
    ),
    Mutation(
        "the handover is not bound to the guest's certificate",
        _HANDOVER,
        "password.encode(), idA=guest_fingerprint, idB=share_fingerprint",
        'password.encode(), idA=b"", idB=share_fingerprint',
        (f"{_TEST_HANDOVER}::test_whoever_differs_is_not_confirmed",),
        (("idA=self._guest, idB=self._share", 'idA=b"", idB=self._share'),),
    ),
    Mutation(
        "the handover is not bound to the share's certificate",
        _HANDOVER,
        "password.encode(), idA=guest_fingerprint, idB=share_fingerprint",
        'password.encode(), idA=guest_fingerprint, idB=b""',
        (f"{_TEST_HANDOVER}::test_whoever_differs_is_not_confirmed",),
        (("idA=self._guest, idB=self._share", 'idA=self._guest, idB=b""'),),
    ),
    Mutation(
        "the share does not look at the confirmation of the password",
        _HANDOVER,
        "if self._keys is None or not hmac.compare_digest(self._keys.confirm_guest(), confirm):",
        "if self._keys is None:",
        (f"{_TEST_HANDOVER}::test_whoever_differs_is_not_confirmed",),
    ),
    Mutation(
        "the key is sealed before the password was proven",
        _HANDOVER,
        "if self._keys is None or not self._proven:",
        "if self._keys is None:",
        (f"{_TEST_HANDOVER}::test_nothing_is_sealed_before_it_was_proven",),
    ),
    Mutation(
        "the confirmation does not cover the sealed key",
        _HANDOVER,
        "self.bound + hashlib.sha256(sealed).digest()",
        "self.bound",
        (f"{_TEST_HANDOVER}::test_a_guest_written_from_the_protocols_text",),
    ),
    Mutation(
        "the guest does not look at the share's proof of the password",
        _HANDOVER,
        "if not hmac.compare_digest(self._keys.confirm_share(answer.sealed), answer.confirm):",
        "if False:",
        (f"{_TEST_HANDOVER}::test_a_changed_seal",),
    ),
    Mutation(
        "what the share says goes to ssh's command line as it is",
        _HANDOVER,
        r'pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*\Z"',
        'pattern=r""',
        (f"{_TEST_HANDOVER}::test_what_would_reach_the_command_line_of_ssh_is_checked",),
    ),
    Mutation(
        "a one-time invite is for many",
        _INVITES,
        "        invite.used += 1\n",
        "",
        (f"{_TEST_INVITES}::test_once_is_once",),
        (("        invite.used -= 1\n", "        pass\n"),),
    ),
    Mutation(
        "an invite is only looked at when the join begins",
        _INVITES,
        "        invite = self.find(plate, now)\n        if invite is None:\n",
        "        invite = self._invites.get(plate)\n        if invite is None:\n",
        (f"{_TEST_RECEPTION}::test_ten_with_a_one_time_invite_one_comes_in",),
    ),
    Mutation(
        "an invite's time does not end",
        _INVITES,
        "        return self.expires_at is not None and self.expires_at <= now\n",
        "        return False\n",
        (f"{_TEST_INVITES}::test_its_time_ends",),
    ),
    Mutation(
        "a plate is given out again",
        _INVITES,
        "self._plates.pop(self._below(len(self._plates)))",
        "self._plates[self._below(len(self._plates))]",
        (f"{_TEST_INVITES}::test_a_plate_is_never_given_twice",),
    ),
    Mutation(
        "who came by an invite stays when its time is over",
        _RECEPTION,
        '                    self.remove_who_came_by(invite, "the time of your invite is over")\n',
        "",
        ("tests/malicious_relay/test_codes.py::test_a_guest_whose_invites_time_is_over",),
    ),
    Mutation(
        "an invite's code gives all that the share's own does",
        _RECEPTION,
        "rights=invite.rights if invite else EVERYTHING,",
        "rights=EVERYTHING,",
        (f"{_TEST_RECEPTION}::test_an_invite_names_its_guest_and_gives_what_it_says",),
    ),
    Mutation(
        "an unknown plate is answered with the share's own code",
        _RECEPTION,
        "return invite.code if invite is not None else make_code(secrets.randbelow)",
        "return invite.code if invite is not None else self.code",
        ("tests/malicious_relay/test_codes.py::test_the_shares_code_under_an_unknown_plate",),
    ),
    Mutation(
        "an old code still counts",
        _RECEPTION,
        "        self.code = make_code(secrets.randbelow)\n        self.refuse",
        "        self.refuse",
        (f"{_TEST_RECEPTION}::test_a_new_code_voids_the_old_one_and_guests_stay",),
    ),
    Mutation(
        "the sharer is asked and not listened to",
        _APPROVALS,
        "        if not welcome:\n",
        "        if False:\n",
        ("tests/vshare/test_approvals.py::test_yes_and_no",),
    ),
    Mutation(
        "lines of the audit log are not chained",
        _CHAIN,
        "    if entry.prev != head:\n",
        "    if False:\n",
        (f"{_TEST_CHAIN}::test_a_line_put_in_under_the_right_number_is_found",),
    ),
    Mutation(
        "a cut tail of the audit log is not missed",
        _CHAIN,
        "    return 0 if wanted and head.startswith(wanted.lower()) else None\n",
        "    return 0\n",
        (f"{_TEST_CHAIN}::test_a_cut_tail_misses_the_head",),
    ),
    Mutation(
        "an event's fields overwrite the chain's",
        _CHAIN,
        "        if key not in _RESERVED\n",
        "",
        (f"{_TEST_CHAIN}::test_fields_do_not_forge_the_chain",),
        (
            (
                'whole = start | fields | {"prev": entry.prev}',
                'whole = start | {"prev": entry.prev} | fields',
            ),
        ),
    ),
    Mutation(
        "another user may control the share",
        _CONTROL,
        "            if uid not in (os.getuid(), ROOT):\n",
        "            if False:\n",
        (f"{_TEST_CONTROL}::test_another_user_is_sent_away",),
    ),
    Mutation(
        "the control socket is everybody's",
        _CONTROL,
        "            bound.chmod(0o600)\n",
        "            bound.chmod(0o666)\n",
        (f"{_TEST_CONTROL}::test_a_terminal_asks",),
    ),
    Mutation(
        "the directory of control sockets may be open to others",
        _RUN,
        "    if found.st_mode & 0o077:\n",
        "    if False:\n",
        (f"{_TEST_CONTROL}::test_a_directory_of_ours_that_others_can_use",),
    ),
    Mutation(
        "the directory of control sockets may be another user's",
        _RUN,
        "    if found.st_uid != os.getuid():\n",
        "    if False:\n",
        (f"{_TEST_CONTROL}::test_a_directory_of_another_user",),
    ),
    Mutation(
        "the directory of control sockets may be a link",
        _RUN,
        "        found = place.lstat()\n",
        "        found = place.stat()\n",
        (f"{_TEST_CONTROL}::test_a_link_in_its_place",),
    ),
    Mutation(
        "another user's process answers for a share",
        "tunnel/running.py",
        "        if peer_uid(sock) not in (os.getuid(), ROOT):\n",
        "        if False:\n",
        (f"{_TEST_CONTROL}::test_another_users_socket_is_not_asked",),
    ),
    Mutation(
        "other users may read the audit log",
        "vshare/audit.py",
        "os.open(path, flags, 0o600)",
        "os.open(path, flags, 0o644)",
        ("tests/vshare/test_audit.py::test_a_newsroom_is_written_down",),
    ),
    Mutation(
        "other users may read the key of a name",
        "vshare/name_key.py",
        "os.O_CLOEXEC, 0o600)",
        "os.O_CLOEXEC, 0o644)",
        ("tests/vshare/test_name_key.py::test_a_chosen_name_keeps_its_key",),
    ),
    Mutation(
        "a short SSH password will do",
        "vshare/ssh_key.py",
        "    if len(text) < MIN_PASSWORD:\n",
        "    if False:\n",
        ("tests/vshare/test_ssh_key.py::test_passwords_that_are_refused",),
    ),
    Mutation(
        "a guest's name means something to the sharer's terminal or shell",
        "vshare/guests.py",
        "if char in punctuation or (char.isalnum() and is_seen(char)))",
        ")",
        ("tests/vshare/test_guests.py::test_names_are_fit_for_a_terminal",),
    ),
    Mutation(
        "a guest's name has letters that nobody sees",
        "vshare/guests.py",
        "(char.isalnum() and is_seen(char))",
        "char.isalnum()",
        ("tests/vshare/test_guests.py::test_names_are_fit_for_a_terminal",),
    ),
    Mutation(
        "a guest is called so that he is taken for another",
        "vshare/guests.py",
        "if skeleton(name) not in taken)",
        "if name not in names)",
        ("tests/vshare/test_guests.py::test_no_guest_is_taken_for_another",),
    ),
    Mutation(
        "what somebody else's vshare.toml shares goes unsaid",
        "vshare/cli.py",
        "    if FILE in context.meta:\n",
        "    if False:\n",
        ("tests/vshare/test_share_file.py::test_it_is_said_before_anything_is_shared",),
    ),
    Mutation(
        "a relay's token goes where somebody else's vshare.toml says",
        "vshare/share_file.py",
        '    if key == "token-file":\n',
        "    if False:\n",
        ("tests/vshare/test_share_file.py::test_a_relays_token_is_not_sent_where_the_file_says",),
    ),
    Mutation(
        "what others say draws on the terminal",
        "tunnel/console.py",
        "char if char.isprintable() else",
        "char if char else",
        ("tests/tunnel/test_console.py::test_control_characters_do_not_reach_the_terminal",),
    ),
    Mutation(
        "what a share calls the machines beside it draws on the terminal",
        "tunnel/console.py",
        "self._machine = printable(name[:MAX_MACHINE])",
        "self._machine = name",
        ("tests/tunnel/test_console.py::test_nor_do_those_of_the_machine_that_is_told_of",),
    ),
    Mutation(
        "a share has a guest's computer work without end on a key",
        "connect_vm/ssh_key.py",
        "        if rounds > MAX_KDF_ROUNDS:\n",
        "        if False:\n",
        ("tests/connect_vm/test_ssh_key.py::test_work_without_end_is_refused",),
    ),
    Mutation(
        "anybody on the host-only network parks at the connect VM",
        "connect_vm/agent/wire.py",
        "if not hmac.compare_digest(mac, wanted) or kind",
        "if kind",
        ("tests/connect_vm/test_agent_wire.py::test_a_changed_byte_anywhere_proves_nothing",),
    ),
    Mutation(
        "anybody may be the connect VM",
        "connect_vm/agent/wire.py",
        '    return hmac.compare_digest(message, prove(secret, b"agent", nonce_v, nonce_a))\n',
        "    return True\n",
        (
            "tests/connect_vm/test_agent_wire.py"
            "::test_a_proof_cannot_be_sent_back_to_whoever_made_it",
        ),
    ),
    Mutation(
        "whatever answers in the connect VM's place is trusted",
        "connect_vm/agent_link.py",
        "            if not wire.check_agent(self._secret, nonce_a, nonce_v, message):\n",
        "            if False:\n",
        ("tests/connect_vm/test_agent_link.py::test_another_host_that_answers_for_the_vm",),
    ),
    Mutation(
        "ssh takes any host key",
        "connect_vm/ssh_run.py",
        '"StrictHostKeyChecking": "yes",',
        '"StrictHostKeyChecking": "no",',
        ("tests/connect_vm/test_ssh.py::test_another_machines_host_key",),
    ),
    Mutation(
        "without the program ssh any host key is taken",
        "connect_vm/ssh_builtin.py",
        "known_hosts=(trusted, [], []),",
        "known_hosts=None,",
        ("tests/connect_vm/test_ssh.py::test_another_machines_host_key",),
    ),
    Mutation(
        "ssh reads the user's configuration, agent forwarding included",
        "connect_vm/ssh_run.py",
        'return [program, "-F", "none", *options, name, *arguments]',
        "return [program, *options, name, *arguments]",
        ("tests/connect_vm/test_ssh.py::test_no_configuration_is_read",),
    ),
    Mutation(
        "the agent outlives ssh",
        "connect_vm/ssh_agent.py",
        "        self._server.close()\n        for session in list(self.sessions):\n"
        "            session.transport.abort()\n"
        "        await self._server.wait_closed()\n",
        "",
        ("tests/connect_vm/test_ssh_agent.py::test_a_real_client",),
    ),
    Mutation(
        "other users of the guest's host reach the machine's SSH server",
        "connect_vm/ssh_gate.py",
        "            if not self._is_ours(address):\n",
        "            if False:\n",
        ("tests/connect_vm/test_ssh_gate.py::test_another_users_connection_is_closed",),
    ),
)
