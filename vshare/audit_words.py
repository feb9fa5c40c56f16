"""What an entry of an audit log says, in plain words. Pure.

The words of peers are in them as they were written: whoever shows them makes them printable.
"""

from __future__ import annotations

from collections.abc import Callable

from vshare.audit_chain import Entry
from vshare.news import Value

Moment = Callable[[float], str]  # seconds since the epoch, as the reader's clock shows them

_UNITS = ("kB", "MB", "GB", "TB")  # powers of 1,000
_MAX_NUMBER = 1e18  # of bytes or seconds; beyond it somebody made it up
_SENTENCES = {  # those that need no more than their fields
    "join-failed": "a join from {address} failed: {reason}",
    "waiting": "{guest} waits to be let in, from {address} (the relay's word)",
    "approved": "{guest} was let in",
    "denied": "{guest} was turned away",
    "refused": "{guest}: {protocol} {host}:{port} was refused: {reason}",
    "kicked": "{guest} was removed",
    "left": "{guest} left",
    "renamed": "the share was called {name}, and no more {before}",
    "code-rotated": "a new code was drawn; the one before it is void",
    "invite-revoked": "the invite {invite} was revoked",
    "ssh-key": "{guest} was handed the SSH key",
    "ssh-password-wrong": "{guest} gave a wrong SSH password; tries left: {left}",
    "ssh-key-removed": "the SSH key was taken off the machine",
    "visitor-joined": "{visitor} opened the guest page, from {address} (the relay's word)",
    "visitor-left": "{visitor} left the guest page",
    "page-passcode": "the guest page got a new passcode; visitors that put out: {out}",
    "page-closed": "the guest page was closed; visitors that put out: {out}",
    "page-opened": "the guest page was opened again",
    "own-domain-removed": "{domain} leads to the share no more",
    "served": "port {port} was shared as {name}",
    "unserved": "port {port} is no more shared as {name}; streams cut: {streams}",
    "said": "all guests were told: {words}",
    "terminal-opened": "the terminal {terminal} was shared, {mode}",
    "terminal-viewer": "{guest} looked at the terminal {terminal}",
    "terminal-asked": "{guest} asked to type in the terminal {terminal}",
    "terminal-held": "{guest} wanted to run a line in the terminal {terminal}",
    "terminal-granted": "{guest} was allowed to type in the terminal {terminal}",
    "terminal-revoked": "{guest} was forbidden to type in the terminal {terminal}",
    "terminal-locked": "guests could not type in the terminal {terminal} any more",
    "terminal-unlocked": "guests could type in the terminal {terminal} as before",
    "terminal-ended": "the terminal {terminal} ended: {reason}",
    "unfenced": "port {port} was let out of the fence",
    "notice": "{text}",
    "ended": "the share ended: {reason}",
}


class _Fields(dict[str, Value]):
    """What a log does not say is a question mark: it may be of another version, or forged."""

    def __missing__(self, key: str) -> str:
        return "?"


def sentence(entry: Entry, moment: Moment) -> str:
    """One line for people; never fails, whatever the fields are."""
    fields = _Fields((key, value) for key, value in entry.fields.items() if value is not None)
    if entry.event in _SENTENCES:
        return _SENTENCES[entry.event].format_map(fields)
    if entry.event == "started":
        return _started(fields, moment)
    if entry.event == "joined":
        by = f", by the invite {fields['invite']}" if fields.get("invite") else ""
        return f"{fields['guest']} joined from {fields['address']} (the relay's word){by}"
    if entry.event == "stream":
        return _stream(fields)
    if entry.event == "extended":
        return f"the share was extended{_until(fields, moment)}"
    if entry.event == "invite-made":
        return _invite_made(fields, moment)
    if entry.event == "gap":
        return _gap(fields)
    if entry.event == "url-guessing":
        whence = fields["address"] or "many addresses"
        return f"the URL's password is guessed from {whence}: {fields['failures']} wrong tries"
    return " ".join([entry.event, *(f"{key}={value}" for key, value in fields.items())])


def size(count: Value) -> str:
    """`12.3 kB`: a number of bytes."""
    if not isinstance(count, int | float) or abs(count) > _MAX_NUMBER:
        return "? bytes"
    if abs(count) < 1000:
        return f"{count} bytes" if count != 1 else "1 byte"
    number = float(count)
    for unit in _UNITS:
        number /= 1000
        if abs(number) < 999.95 or unit == _UNITS[-1]:
            break
    return f"{number:.1f} {unit}"


def _started(fields: _Fields, moment: Moment) -> str:
    relay = f" through the relay {fields['relay']}" if fields.get("relay") else ""
    shared = f"; shared: {fields['shared']}" if fields.get("shared") else ""
    until = _until(fields, moment)
    return f"{fields['machine']} is shared as {fields['name']}{relay}{until}{shared}"


def _stream(fields: _Fields) -> str:
    seconds = fields["seconds"]
    known = isinstance(seconds, int | float) and abs(seconds) < _MAX_NUMBER
    lasted = f"{seconds:.1f}" if known else "?"
    code = f", ended by {fields['code']}" if fields.get("code") else ""
    if fields.get("dropped"):
        code += f"; datagrams dropped: {fields['dropped']}"
    return (
        f"{fields['guest']}: {fields['protocol']} {fields['port']}, {size(fields['bytes_in'])} in,"
        f" {size(fields['bytes_out'])} out, {lasted} s{code}"
    )


def _invite_made(fields: _Fields, moment: Moment) -> str:
    guest = f" for {fields['guest']}" if fields.get("guest") else ""
    once = ", good for once" if fields.get("once") else ""
    ports = f", ports {fields['ports']}" if fields.get("ports") else ""
    return f"the invite {fields['invite']} was made{guest}{once}{ports}{_until(fields, moment)}"


def _gap(fields: _Fields) -> str:
    parts = []
    if fields.get("missed"):
        parts.append(f"events that could not be written: {fields['missed']}")
    if fields.get("omitted"):
        parts.append(f"streams and refusals left out, for the file is full: {fields['omitted']}")
    return "gap: " + "; ".join(parts or ["nothing is known of what is missing"])


def _until(fields: _Fields, moment: Moment) -> str:
    at = fields.get("expires_at")
    return f" until {moment(at)}" if isinstance(at, int | float) else ""
