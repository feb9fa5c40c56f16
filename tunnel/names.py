"""Share names and join codes (docs/protocol.md 2). Pure: entropy is an argument."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Callable
from typing import NewType

from mnemonic import Mnemonic

from tunnel.errors import UsageError

ShareName = NewType("ShareName", str)
JoinCode = NewType("JoinCode", str)

# below(n) returns a uniform integer in [0, n): secrets.randbelow outside tests.
Below = Callable[[int], int]

CODE_WORDS = 3
INVITE_WORDS = CODE_WORDS + 1  # the first one is public: the plate
MIN_NAME, MAX_NAME = 3, 40
MAX_LABEL = 63  # RFC 1035 2.3.4
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")

# Short, friendly, easy to say on the telephone.
ADJECTIVES = tuple(
    """able agile amber ample awake awful bold brave brief bright brisk broad calm candid
    clever cloudy cosy crisp curly daring deep dizzy dusty eager early easy fancy fast fine
    fleet fluffy fond frank fresh frosty fuzzy gentle giddy glad golden grand happy hardy
    hasty honest humble icy jolly keen kind large late lively loud loyal lucky mellow merry
    mild misty modest neat nimble noble odd patient plain polite proud quick quiet rapid rare
    ready rosy rough round royal rustic shiny shy silent silver sleepy sly smart smooth snowy
    soft solid spry steady stormy sunny sweet swift tall tame tidy tiny vast warm wise witty
    young zesty""".split()  # noqa: SIM905  # a list literal would take 100 lines
)
ANIMALS = tuple(
    """ant badger bat bear beaver bee bison boar camel cat cheetah cobra condor crab crane
    cricket crow deer dingo dog dolphin dove dragon duck eagle eel elk emu falcon ferret finch
    fish fox frog gecko gerbil goat goose gopher hare hawk hedgehog heron hippo horse hound
    ibex iguana jackal jaguar jay kiwi koala lark lemur leopard lion lizard llama lobster lynx
    magpie mantis marmot marten mole moose mouse mule newt ocelot octopus orca oryx osprey
    otter owl panda parrot pelican penguin pigeon pony puffin puma quail rabbit raven robin
    salmon seal shark sheep shrew skunk sloth snail sparrow squid squirrel stork swan tapir
    tiger toad trout turtle viper vole walrus wasp weasel whale wolf wombat wren yak
    zebra""".split()  # noqa: SIM905
)


@functools.cache
def code_words() -> tuple[str, ...]:
    """The 2,048 words that codes are made of (BIP 39's English list: no two alike in 4 letters)."""
    return tuple(Mnemonic("english").wordlist)


def make_name(below: Below) -> ShareName:
    """A fresh name such as `frosty-weasel-0857`."""
    adjective = ADJECTIVES[below(len(ADJECTIVES))]
    animal = ANIMALS[below(len(ANIMALS))]
    return ShareName(f"{adjective}-{animal}-{below(10_000):04d}")


def make_code(below: Below) -> JoinCode:
    """A fresh code such as `orange-crystal-salmon`: 33 bits."""
    words = code_words()
    return JoinCode("-".join(words[below(len(words))] for _ in range(CODE_WORDS)))


def make_invite_code(plate: str, below: Below) -> JoinCode:
    """A fresh code such as `tiger-orange-crystal-salmon` for the invite `plate`: 33 bits more."""
    return JoinCode(f"{plate}-{make_code(below)}")


def plate_of(code: JoinCode) -> str:
    """Which invite `code` is of; empty for a share's own code."""
    plate, _, rest = code.partition("-")
    return plate if rest.count("-") == CODE_WORDS - 1 else ""


def parse_name(text: str) -> ShareName:
    """`text` as a share's name. Raises UsageError that says what a name looks like."""
    name = text.strip().lower()
    if "://" in name or "/" in name:
        raise UsageError(
            f"a share's name was expected, this is a URL: {text!r}",
            "give the name alone, such as frosty-weasel-0857; a browser opens the URL",
        )
    if not MIN_NAME <= len(name) <= MAX_NAME or "--" in name or not _NAME.fullmatch(name):
        raise UsageError(
            f"not a share's name: {text!r}",
            f"a name has {MIN_NAME} to {MAX_NAME} letters, digits and single hyphens,"
            " such as frosty-weasel-0857",
        )
    return ShareName(name)


def parse_code(text: str) -> JoinCode:
    """`text` as a join code, a share's or an invite's; spaces and capitals are forgiven.

    Raises UsageError, which does not repeat what was typed.
    """
    words = text.strip().lower().replace("-", " ").split()
    known = set(code_words())
    if len(words) not in (CODE_WORDS, INVITE_WORDS) or any(word not in known for word in words):
        raise UsageError(
            "this is not a join code",
            "a code is three words, such as orange-crystal-salmon, an invite's is four;"
            " ask the sharer for it",
        )
    return JoinCode("-".join(words))


def split_code(text: str) -> tuple[ShareName, JoinCode | None]:
    """`NAME` or `NAME-word-word-word`, taken apart. Raises UsageError.

    Three words alone: an invite's code is given apart, since its first word could be the name's.
    A chosen name may itself end in three words of the list; then the code must be given
    apart, because what is typed is read as a name with a code.
    """
    parts = text.strip().lower().split("-")
    head, tail = parts[:-CODE_WORDS], parts[-CODE_WORDS:]
    if head and len(tail) == CODE_WORDS and all(word in set(code_words()) for word in tail):
        candidate = "-".join(head)
        if len(candidate) >= MIN_NAME:
            return parse_name(candidate), JoinCode("-".join(tail))
    return parse_name(text), None


def host_label(name: ShareName, label: str = "") -> str:
    """The DNS label of a share's URL: `NAME` or `NAME--LABEL`, at most 63 bytes."""
    text = f"{name}--{label}" if label else str(name)
    if len(text) <= MAX_LABEL:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{text[: MAX_LABEL - 9].rstrip('-')}-{digest}"
