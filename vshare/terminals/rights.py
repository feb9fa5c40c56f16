"""Who may type in one terminal. Pure."""

from __future__ import annotations

from vshare.terminals.identity import Identity


class Rights:
    """`read_write`: guests may type unless the sharer took it from them; else those may that the
    sharer granted it to. A lock stands above both. Rights hang on a key, never on a name."""

    def __init__(self, *, read_write: bool = False) -> None:
        self.read_write = read_write
        self.locked = False
        self._said: dict[str, bool] = {}  # by key, what the sharer decided
        self._asked: set[str] = set()

    def may_type(self, who: Identity) -> bool:
        """Whether what `who` types counts, now."""
        if who.is_sharer:
            return True
        if who.read_only or self.locked:
            return False
        return self._said.get(who.key, self.read_write)

    def may_ask(self, who: Identity) -> bool:
        """Whether `who` may ask for the right, and has not yet."""
        granted = self._said.get(who.key, self.read_write)
        return not (who.is_sharer or who.read_only or granted or self.has_asked(who))

    def has_asked(self, who: Identity) -> bool:
        """Whether `who` asked, and was not answered."""
        return who.key in self._asked and not who.is_sharer

    def ask(self, who: Identity) -> bool:
        """`who` asks; whether that is news."""
        if not self.may_ask(who):
            return False
        self._asked.add(who.key)
        return True

    def decide(self, who: Identity, *, write: bool) -> None:
        """The sharer's word about `who`."""
        self._asked.discard(who.key)
        if not (who.is_sharer or who.read_only):
            self._said[who.key] = write

    def forget_question(self, who: Identity) -> None:
        """It looks no longer, so it asks no longer; what was decided stays, should it come back."""
        self._asked.discard(who.key)
