"""What a share tells each guest about itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.vshare.test_rules import WEB, found
from tunnel.identity import Role
from tunnel.names import ShareName
from vshare.authorized_keys import AuthorizedKeys
from vshare.calls import share_calls
from vshare.guests import Guest
from vshare.machine import SshAccess
from vshare.news import Newsroom
from vshare.options import Options, SshOptions
from vshare.policy import EVERYTHING, Rights
from vshare.rules import make_policy
from vshare.ssh_key import make_key
from vshare.ssh_link import SshLink
from vshare.ssh_sharing import SshSharing

NAME = ShareName("frosty-weasel-0857")


@pytest.mark.parametrize(
    ("rights", "password", "expected"),
    [
        (EVERYTHING, "password", "password"),
        (EVERYTHING, None, "open"),
        (Rights(frozenset({22, 80})), "password", "password"),
        (Rights(frozenset({80})), "password", None),  # an invite for the web alone
    ],
)
def test_who_is_told_of_ssh(
    rights: Rights, password: str | None, expected: str | None, tmp_path: Path
) -> None:
    ssh = SshSharing(
        make_key("vshare-test", None),
        password,
        AuthorizedKeys(SshLink(SshAccess("127.0.0.1"))),
        Newsroom(),
        port=22,
        expires_at=time.time() + 60,
        notes=tmp_path,
    )
    policy = make_policy(Options(ssh=SshOptions()), found(WEB), only_loopback=False)
    guest = Guest("bob", Role.GUEST, "aa", "test", rights=rights)
    info = share_calls(found(WEB), lambda: NAME, ssh)["share-info"](guest, policy)
    assert isinstance(info, dict)
    assert info["ssh"] == expected
    without = share_calls(found(WEB), lambda: NAME, None)["share-info"](guest, policy)
    assert isinstance(without, dict)
    assert without["ssh"] is None
