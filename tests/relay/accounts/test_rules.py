from relay.accounts.bans import Ban, Bans, Kind
from relay.accounts.limits import Limits
from relay.accounts.permits import Permit, ReservedNames
from relay.accounts.quotas import Quotas
from relay.accounts.rules import Applicant, Rules

KEY = b"k" * 32


def permit(*scopes: str, account: int = 7) -> Permit:
    return Permit("abcdefgh", account, b"", frozenset(("share", *scopes)), Limits(), None)


def applicant(name: str, who: Permit | None = None, address: str = "192.0.2.1") -> Applicant:
    return Applicant(name, KEY, who, address, address)


def test_a_token_may_be_for_names_that_begin_with_something() -> None:
    rules, bound = Rules(Quotas()), permit("names:acme-", "names:test")
    assert rules.refusal(applicant("acme-web", bound), 0.0) is None
    assert rules.refusal(applicant("tester", bound), 0.0) is None
    for name in ("other", ""):  # one that is drawn begins with anything
        refusal = rules.refusal(applicant(name, bound), 0.0)
        assert refusal == (
            "name-invalid",
            "its token is for names that begin with acme- or test",
        )
    assert rules.refusal(applicant("other", permit()), 0.0) is None


def test_reserved_names_are_for_one_account() -> None:
    reserved = ReservedNames()
    reserved.replace([("acme", 7), ("acme-*", 7), ("acme-guest", 8)])
    rules = Rules(Quotas(), Bans(), reserved)
    for name, account in (("acme", 7), ("acme-web", 7), ("acme-guest", 8)):
        for who in (permit(account=7), permit(account=8), None):
            is_owner = who is not None and who.account == account
            refusal = rules.refusal(applicant(name, who), 0.0)
            assert (refusal is None) == is_owner, (name, who)
            assert refusal is None or refusal[0] == "name-taken"
            assert rules.is_by_right(name, who.account if who else 0) == is_owner
            assert rules.may_have(name, who.account if who else 0) == is_owner
    assert rules.refusal(applicant("acmes"), 0.0) is None
    assert not rules.is_by_right("acmes", 7)


def test_who_is_banned_is_told_so_whatever_it_is_for() -> None:
    for ban, address in (
        (Ban(Kind.ADDRESS, "192.0.2.0/24", "spam"), "192.0.2.1"),
        (Ban(Kind.TOKEN, "abcdefgh", "spam"), "198.51.100.1"),
        (Ban(Kind.NAME, "the-name", "spam"), "198.51.100.1"),
    ):
        bans = Bans()
        bans.replace([ban])
        refusal = Rules(Quotas(), bans).refusal(applicant("the-name", permit(), address), 0.0)
        assert refusal == ("banned", f"its {ban.kind.value} is banned here: spam")


def test_without_tokens_sources_count_but_not_loopback() -> None:
    assert applicant("a-name").holders == ("source:192.0.2.1",)
    assert applicant("a-name", address="127.0.0.1").holders == ()
    assert applicant("a-name", permit()).holders == ("token:abcdefgh", "user:7")
