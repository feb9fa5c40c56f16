from relay.website import sessions
from relay.website.sessions import IDLE, LASTS, Session, Sessions


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0
        self._count = 0

    def time(self) -> float:
        return self.now

    def secret(self) -> str:
        self._count += 1
        return f"secret-{self._count}"


def find(table: Sessions, cookie: str, *, counts: bool = True) -> Session | None:
    return table.find(cookie, lambda token: True, counts=counts)


def test_a_session_is_found_by_its_cookie_and_ends() -> None:
    clock = Clock()
    table = Sessions(clock.secret, clock.time)
    cookie = table.begin("token", 7)
    found = find(table, cookie)
    assert found is not None
    assert (found.token, found.account) == ("token", 7)
    assert found.csrf not in ("", cookie)
    assert find(table, "") is find(table, found.csrf) is find(table, "\ud800") is None
    assert cookie not in repr(vars(table))  # what is kept is no cookie
    table.end(found)
    table.end(found)
    assert find(table, cookie) is None


def test_who_does_nothing_is_out_and_so_is_everybody_in_the_end() -> None:
    clock = Clock()
    table = Sessions(clock.secret, clock.time)
    idle, busy = table.begin("token", 1), table.begin("token", 1)
    for _ in range(int(LASTS / (IDLE - 1))):
        clock.now += IDLE - 1
        assert find(table, busy) is not None
        find(table, idle, counts=False)  # the page's own looks are no sign of life
    assert find(table, idle) is None
    clock.now += IDLE - 1
    assert find(table, busy) is None


def test_a_session_ends_with_its_token() -> None:
    clock = Clock()
    table = Sessions(clock.secret, clock.time)
    cookie = table.begin("token", 1)
    assert table.find(cookie, lambda token: token != "token", counts=True) is None
    assert find(table, cookie) is None  # for good
    assert not len(table)


def test_there_are_not_too_many() -> None:
    clock = Clock()
    table = Sessions(clock.secret, clock.time)
    other = table.begin("other", 2)
    mine = []
    for _ in range(sessions.MAX_OF_ACCOUNT + 1):
        clock.now += 1
        mine.append(table.begin("token", 1))
    assert find(table, mine[0]) is None  # one's own makes room
    assert find(table, other) is not None
    for account in range(10, 10 + sessions.MAX_SESSIONS):
        clock.now += 0.001
        table.begin("token", account)
    assert len(table) == sessions.MAX_SESSIONS
    assert find(table, mine[1]) is None
