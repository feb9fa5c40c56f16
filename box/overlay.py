"""The second archive, appended to the connect VM's initramfs, that carries its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping

from connect_vm import cpio

CONFIG = "etc/vshare/agent.json"


def overlay(config: Mapping[str, object]) -> bytes:
    """The archive with this configuration, readable by root alone in the VM.

    Append it to the initramfs, which must end on a multiple of 4 bytes (the built ones do).
    """
    text = json.dumps(config, sort_keys=True).encode()
    return cpio.archive([cpio.regular(CONFIG, text, 0o600)])
