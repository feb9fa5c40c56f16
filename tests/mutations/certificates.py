"""Certificates, TLS, and who is let in with them."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_IDENTITY = "tunnel/identity.py"
_SERVER = "vshare/server.py"
_CLIENT = "tunnel/client.py"
_CONNECTION = "tunnel/connection.py"
_GUESTS = "vshare/guests.py"
_RECEPTION = "vshare/reception.py"
_TEST_IDENTITY = "tests/tunnel/test_identity.py"
_TEST_SERVER = "tests/vshare/test_server.py"
_RELAY = "tests/test_malicious_relay.py"
_ATTACKS = "tests/malicious_relay"

CERTIFICATES = (
    Mutation(
        "every certificate may be a server's",
        _IDENTITY,
        "x509.ExtendedKeyUsage([purpose])",
        "x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])",
        (f"{_TEST_IDENTITY}::test_a_clients_certificate_cannot_be_a_server",),
    ),
    Mutation(
        "a guest verifies nothing",
        _IDENTITY,
        "    context.verify_mode = ssl.CERT_REQUIRED\n"
        "    context.load_verify_locations(cadata=identity.ca)\n"
        "    load_identity(context, identity.key, identity.certificate)\n"
        "    return context\n\n\ndef server_context",
        "    context.verify_mode = ssl.CERT_NONE\n"
        "    load_identity(context, identity.key, identity.certificate)\n"
        "    return context\n\n\ndef server_context",
        (f"{_RELAY}::test_it_plays_the_share_towards_a_guest[self_made]",),
    ),
    Mutation(
        "the share asks for no certificate",
        _IDENTITY,
        "    context.num_tickets = 0\n    context.verify_mode = ssl.CERT_REQUIRED\n",
        "    context.num_tickets = 0\n    context.verify_mode = ssl.CERT_OPTIONAL\n",
        (f"{_TEST_IDENTITY}::test_client_without_a_certificate_is_refused",),
    ),
    Mutation(
        "session tickets are given out",
        _IDENTITY,
        "    context.num_tickets = 0\n    context.verify_mode = ssl.CERT_REQUIRED\n",
        "    context.num_tickets = 2\n    context.verify_mode = ssl.CERT_REQUIRED\n",
        (f"{_TEST_IDENTITY}::test_no_session_tickets",),
    ),
    Mutation(
        "TLS 1.2 is spoken",
        _IDENTITY,
        "ssl.TLSVersion.TLSv1_3",
        "ssl.TLSVersion.TLSv1_2",
        (f"{_TEST_IDENTITY}::test_tls_1_2_is_refused",),
    ),
    Mutation(
        "any SAN is a share's",
        _IDENTITY,
        "if found != [SHARE_SAN]:",
        "if found is None:",
        (f"{_TEST_IDENTITY}::test_the_san_is_the_shares_alone",),
    ),
    Mutation(
        "the guest does not ask for the share's SAN",
        _CLIENT,
        "            require_share(tls.peer_certificate)\n",
        "",
        (f"{_ATTACKS}/test_certificates.py::test_a_servers_purpose_alone_makes_no_share",),
    ),
    Mutation(
        "a share's certificate may come in as a client's",
        _IDENTITY,
        "        raise RemoteProtocolError(\"a share's certificate cannot be a client's\")\n",
        "        pass\n",
        (f"{_TEST_IDENTITY}::test_the_shares_certificate_cannot_be_a_client",),
    ),
    Mutation(
        "what was issued need not be of the CA",
        _IDENTITY,
        "        certificate.verify_directly_issued_by"
        "(x509.load_der_x509_certificate(identity.ca))\n",
        "",
        (f"{_TEST_IDENTITY}::test_what_was_issued_is_checked",),
    ),
    Mutation(
        "what was issued may be for another key",
        _IDENTITY,
        "if key != identity.key.public_key():",
        "if key is None:",
        (f"{_TEST_IDENTITY}::test_what_was_issued_is_checked",),
    ),
    Mutation(
        "a request need not be signed by its key",
        _IDENTITY,
        "    if not valid:\n",
        "    if valid is None:\n",
        (f"{_TEST_IDENTITY}::test_hostile_requests_are_the_peers_fault",),
    ),
    Mutation(
        "the guest list is not asked: every certificate of the CA counts",
        _GUESTS,
        "        if guest is None or guest.role is not peer.role:\n",
        "        if guest is None:\n"
        "            return Guest(peer.name, peer.role, peer.fingerprint, '')\n"
        "        if guest.role is not peer.role:\n",
        ("tests/vshare/test_guests.py::test_only_listed_certificates",),
    ),
    Mutation(
        "a guest who was removed stays connected",
        _SERVER,
        "        guests.on_removed = self._removed\n",
        "",
        (f"{_ATTACKS}/test_certificates.py::test_a_removed_guest_comes_in_nowhere",),
    ),
    Mutation(
        "an older gateway's certificate still counts",
        _RECEPTION,
        "            self._guests.remove(earlier)\n",
        "            pass\n",
        (f"{_ATTACKS}/test_certificates.py::test_an_earlier_gateway_comes_in_nowhere",),
    ),
    Mutation(
        "another application protocol is served as streams are",
        _SERVER,
        "            elif ALPN.encode() in hello.alpn:\n",
        "            elif True:\n",
        (f"{_TEST_SERVER}::test_other_application_protocols",),
        (("if tls.alpn not in (join.ALPN, ALPN):", "if False:"),),
    ),
    Mutation(
        "a visitor who says nothing stays",
        _SERVER,
        "async with asyncio.timeout(HEAD_DEADLINE):",
        "async with asyncio.timeout(None):",
        (f"{_ATTACKS}/test_delays.py::test_silence_at_the_shares_door",),
    ),
    Mutation(
        "a crowd of visitors keeps guests out",
        _SERVER,
        "        if len(self._pending) >= MAX_PENDING:\n",
        "        if False:\n",
        (f"{_TEST_SERVER}::test_a_crowd_of_silent_connections_does_not_keep_guests_out",),
    ),
    Mutation(
        "one guest may have all the connections",
        _SERVER,
        "            if guest.connections >= MAX_GUEST_CONNECTIONS:\n",
        "            if False:\n",
        (f"{_ATTACKS}/test_certificates.py::test_one_guests_connections_are_limited",),
    ),
    Mutation(
        "a connection is used before the share said HELLO",
        _CLIENT,
        "                hello = await asyncio.shield(connection.hello)\n",
        "                hello = Hello(VERSION, '', [], '', '', [])\n",
        ("tests/tunnel/test_client.py::test_a_guest_who_was_removed_is_told_so",),
    ),
    Mutation(
        "HELLO may take for ever",
        _CLIENT,
        "async with asyncio.timeout(HELLO_TIMEOUT):",
        "async with asyncio.timeout(None):",
        (f"{_ATTACKS}/test_delays.py::test_hello_is_not_waited_for",),
    ),
    Mutation(
        "a handshake may take for ever",
        "tunnel/tls_socket.py",
        "        async with asyncio.timeout(timeout):\n",
        "        async with asyncio.timeout(None):\n",
        (f"{_ATTACKS}/test_delays.py::test_a_handshake_is_not_waited_for",),
    ),
    Mutation(
        "a connection that was cut counts as ended",
        "tunnel/tls_socket.py",
        '            self._lose(LostError("the connection ended without a word"))\n',
        "            self._lose(None)\n",
        ("tests/tunnel/test_tls_socket.py::test_an_end_without_close_notify_is_a_loss",),
    ),
    Mutation(
        "a stream whose connection was lost ends as if it were whole",
        "tunnel/stream_end.py",
        "        self.peer.reset(Code.LOST)\n        self.closed(self.reason)\n",
        "        self.peer.send_eof()\n        self.closed(self.reason)\n",
        (f"{_ATTACKS}/test_tampering.py::test_a_stream_that_is_cut_never_ends_clean",),
    ),
    Mutation(
        "a notice is told as often as it comes",
        _CLIENT,
        "        if notice.id in self._told:\n",
        "        if False:\n",
        ("tests/tunnel/test_notices.py::test_a_client_passes_each_notice_on_once",),
    ),
    Mutation(
        "a client may notify the share, and a share before HELLO",
        _CONNECTION,
        "        if not self._is_client or not self.hello.done():\n",
        "        if False:\n",
        (
            f"{_ATTACKS}/test_tampering.py"
            "::test_nothing_is_told_before_the_share_has_let_the_guest_in",
        ),
    ),
    Mutation(
        "a frame may be of any length",
        "tunnel/frames.py",
        "        if self._left > limit:\n",
        "        if False:\n",
        ("tests/tunnel/test_frames.py::test_a_length_is_judged_before_its_payload",),
    ),
    Mutation(
        "a message may be of any length",
        "tunnel/messages.py",
        "        if length > MAX_MESSAGE:\n",
        "        if False:\n",
        (f"{_ATTACKS}/test_codes.py::test_a_message_that_is_too_long_is_not_waited_for",),
    ),
    Mutation(
        "a relay with another certificate than its address names is taken",
        "tunnel/relay_tls.py",
        "    if not matches(certificate, relay.fingerprint):\n",
        "    if False:\n",
        (
            "tests/tunnel/test_relay_tls.py"
            "::test_a_pinned_relay_is_fetched_compared_and_trusted_alone",
        ),
    ),
)
