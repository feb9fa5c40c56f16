"""Every defence that is taken away, docs/security.md's promises behind them."""

from __future__ import annotations

from tests.mutations.accounts import ACCOUNTS
from tests.mutations.browsing import BROWSING
from tests.mutations.certificates import CERTIFICATES
from tests.mutations.direct import DIRECT
from tests.mutations.joining import JOINING
from tests.mutations.leaving import LEAVING
from tests.mutations.looking import LOOKING
from tests.mutations.mutation import Mutation
from tests.mutations.outward import OUTWARD
from tests.mutations.owning import OWNING
from tests.mutations.paging import PAGING
from tests.mutations.passing import PASSING
from tests.mutations.reaching import REACHING
from tests.mutations.relaying import RELAYING
from tests.mutations.remembering import REMEMBERING
from tests.mutations.resuming import RESUMING
from tests.mutations.secrets import SECRETS
from tests.mutations.serving import SERVING
from tests.mutations.siting import SITING
from tests.mutations.typing import TYPING
from tests.mutations.visiting import VISITING
from tests.mutations.watching import WATCHING

EVERY: tuple[Mutation, ...] = (
    *JOINING,
    *CERTIFICATES,
    *REACHING,
    *SECRETS,
    *RELAYING,
    *RESUMING,
    *DIRECT,
    *OUTWARD,
    *VISITING,
    *SITING,
    *LOOKING,
    *PASSING,
    *TYPING,
    *SERVING,
    *WATCHING,
    *BROWSING,
    *ACCOUNTS,
    *OWNING,
    *PAGING,
    *REMEMBERING,
    *LEAVING,
)
