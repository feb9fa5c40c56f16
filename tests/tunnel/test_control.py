import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel import control
from tunnel.control import Challenge, Ended, Publish, Register, Registered, Tickets
from tunnel.errors import RemoteProtocolError
from tunnel.relay_token import MAX_TOKEN

FROM_RELAY = [
    Challenge(b"n" * 32, "localhost", 1, b"key"),
    Registered("frosty-weasel-0857", "localhost", "http://a/", "https://a/", 60.0),
    control.Rejected("name-taken", "it is somebody else's"),
    Tickets([b"t" * 32]),
    control.Extended(3600.0),
    Ended("expired", "the time is over"),
]
FROM_SHARE = [
    Register(b"k" * 32, b"s" * 64, "", True, 28_800.0, 1),
    Register(b"k" * 32, b"s" * 64, "a-name", True, 60.0, 1, "0123456789abcdef" * 2),
    control.Extend(3600.0),
    Publish(["", "8080"], "certificate", "ca"),
    control.End(),
]


@pytest.mark.parametrize("message", FROM_RELAY)
def test_relay_round_trip(message: control.FromRelay) -> None:
    assert control.parse_from_relay(control.serialize(message)) == message


@pytest.mark.parametrize("message", FROM_SHARE)
def test_share_round_trip(message: control.FromShare) -> None:
    assert control.parse_from_share(control.serialize(message)) == message


def test_what_goes_over_the_wire() -> None:
    text = control.serialize(Challenge(b"\0\1\2", "example.org", 1, b""))
    assert json.loads(text) == {
        "type": "challenge",
        "nonce": "AAEC",
        "domain": "example.org",
        "version": 1,
        "gateway_key": "",
        "token": False,
    }


def test_a_token_is_short_and_not_shown() -> None:
    request = Register(b"", b"", "a-name", True, 60.0, 1, token="x" * MAX_TOKEN)
    assert control.parse_from_share(control.serialize(request)) == request
    assert "xxx" not in repr(request)
    longer = msgspec.structs.replace(request, token="x" * (MAX_TOKEN + 1))
    with pytest.raises(RemoteProtocolError) as caught:
        control.parse_from_share(control.serialize(longer))
    assert "xxx" not in caught.value.text


def test_unknown_members_are_ignored() -> None:
    assert control.parse_from_share('{"type":"end","later":[1]}') == control.End()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"type":"nothing"}',
        '{"type":"challenge","nonce":"AAEC"}',
        '{"type":"tickets","tickets":["!!"]}',
        '{"type":"tickets","tickets":[' + ",".join(['"AA=="'] * 65) + "]}",
        '{"type":"publish","sites":["A"],"certificate":"","ca":""}',
        '{"type":"publish","sites":["a.b"],"certificate":"","ca":""}',
        '{"type":"publish","sites":["' + "a" * 64 + '"],"certificate":"","ca":""}',
        '{"type":"publish","sites":[' + ",".join(['""'] * 129) + '],"certificate":"","ca":""}',
        '{"type":"extend"}',
        '{"type":"extend","expires_in":-1}',
        '{"type":"extend","expires_in":1e12}',
        '{"type":"ended","code":"x","text":"' + "y" * 1025 + '"}',
        "[" * 60_000,
        " " * (control.MAX_MESSAGE + 1),
        b"\xff\xfe",
    ],
)
def test_wrong_messages(text: str | bytes) -> None:
    for parse in (control.parse_from_relay, control.parse_from_share):
        with pytest.raises(RemoteProtocolError):
            parse(text)


@pytest.mark.parametrize("route", ["0" * 31, "0" * 33, "A" * 32, "0" * 32 + "\n", "a name"])
def test_a_route_is_32_hex_digits_or_nothing(route: str) -> None:
    text = control.serialize(Register(b"k", b"s", "", True, 60.0, 1, route))
    with pytest.raises(RemoteProtocolError):
        control.parse_from_share(text)


@given(
    st.one_of(
        st.text(),
        st.binary(),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(),
            lambda children: st.lists(children) | st.dictionaries(st.text(), children),
        ).map(json.dumps),
    )
)
def test_garbage_never_escapes(text: str | bytes) -> None:
    for parse in (control.parse_from_relay, control.parse_from_share):
        with pytest.raises(RemoteProtocolError):
            parse(text)


def test_a_signature_is_for_one_relay_and_one_name() -> None:
    one = control.signed_bytes(b"n" * 32, b"certificate", "name")
    assert one.startswith(b"vshare-register-1\0" + b"n" * 32)
    assert one != control.signed_bytes(b"n" * 32, b"another", "name")
    assert one != control.signed_bytes(b"n" * 32, b"certificate", "other")
