"""How many files this process may have open (getrlimit(2)): each stream costs one or more."""

from __future__ import annotations

import resource

# Hard limits can be 2^30, and a child that closes every possible descriptor counts that far.
MOST = 1 << 20


def open_files_limit() -> int:
    """How many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else MOST


def raise_open_files_limit() -> None:
    """Raise the soft limit to the hard one, MOST at most; it is never lowered."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
