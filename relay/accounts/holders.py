"""Whom a share and its visitors count for: a token and its user, or a source. Pure."""

from __future__ import annotations

TOKEN, USER, SOURCE = "token:", "user:", "source:"

# `token:ID` and `user:NUMBER` at a relay with accounts, `source:ADDRESS` of the share at an open
# one; the first is the one whose limits the relay's defaults are for.
Holders = tuple[str, ...]


def holders_of(token: str, account: int, source: str) -> Holders:
    """Who a share counts for: its token and account, or where there is none its source; nobody,
    where that is empty."""
    if token:
        return f"{TOKEN}{token}", f"{USER}{account}"
    return (f"{SOURCE}{source}",) if source else ()


def whose(holder: str) -> str:
    """For the sharer, what a limit is one of."""
    if holder.startswith(TOKEN):
        return "its token"
    return "its user" if holder.startswith(USER) else "where it comes from"


def too_many_shares(holder: str, limit: int) -> str:
    """Why none can register."""
    shares = f"{limit} share{'' if limit == 1 else 's'}"
    return f"{whose(holder)} is for {shares} at once, and has as many"
