"""Lesson plans as data: the steps of a plan, and whether a page shows what a step says.

A step is a block of a plan. The site draws it, and the test does what its options say:

    :::{step} 3–8
    :scenario: four
    :time: t = 10²⁰
    :see: NC1 spread < 10⁻³; proven upper bound < 11
    Do
    : Open **4 classes** …
    :::
"""

import dataclasses
import math
import re

__all__ = ["Claim", "Step", "claims", "link", "log10_of", "place", "steps"]

_STEP = re.compile(r"^:::\{step\} (.+)\n((?::\w+: .+\n)*)((?:.*\n)*?):::$", re.MULTILINE)
_OPTION = re.compile(r"^:(\w+): (.+)$", re.MULTILINE)
_CLAIM = re.compile(r"(.+) ([<>=]) (.+)")
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_NUMBER = re.compile(r"(?:t = |epoch )?(?:(?P<plain>\d+(?:\.\d+)?)(?:·|$))?(?:10(?P<power>[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+))?")


@dataclasses.dataclass(frozen=True)
class Claim:
    """``name`` of a curve, ``<``, ``>`` or ``=``, and the words it is compared with.

    >>> Claim("NC1 spread", "<", "10⁻³").holds("1.7·10⁻⁴"), Claim("upper bound", "=", "none yet").holds("12.5")
    (True, False)
    """

    name: str
    relation: str
    words: str

    def holds(self, shown: str) -> bool:
        """Whether words on a page, such as 1.7·10⁻⁴, are what is claimed. = compares words, < and > numbers."""
        if self.relation == "=":
            return shown == self.words
        if not _NUMBER.fullmatch(shown):
            return False
        here, there = log10_of(shown), log10_of(self.words)
        return here < there if self.relation == "<" else here > there


@dataclasses.dataclass(frozen=True)
class Step:
    """Minutes, options by name and the text of a step."""

    minutes: str
    options: dict[str, str]
    text: str

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What the page shows then."""
        return claims(self.options.get("see", ""))


def steps(plan: str) -> list[Step]:
    """The steps of a plan in Markdown, in their order."""
    return [Step(m[1], dict(_OPTION.findall(m[2])), m[3]) for m in _STEP.finditer(plan)]


def claims(see: str) -> tuple[Claim, ...]:
    """Claims from words: ``NC1 spread < 10⁻³; proven upper bound = none yet``. Raises: ValueError for other words."""
    found = []
    for part in filter(None, (part.strip() for part in see.split(";"))):
        claim = _CLAIM.fullmatch(part)
        if claim is None:
            raise ValueError(f"a claim is written like 'NC1 spread < 10⁻³', but is {part!r}: name, sign, value.")
        found.append(Claim(*claim.groups()))
    return tuple(found)


def log10_of(words: str) -> float:
    """log10 of a number as the demo page writes it: beyond what a float holds, and −inf for 0.

    Raises: ValueError for words that are no such number.

    >>> log10_of("t = 10¹⁰⁰⁰"), log10_of("0"), round(log10_of("2.0·10⁻⁵"), 3)
    (1000.0, -inf, -4.699)
    """
    found = _NUMBER.fullmatch(words)
    if found is None or not any(found.groups()):
        raise ValueError(f"a number is written like 0.35 or 6.9·10⁻¹², but is {words!r}.")
    plain = float(found["plain"] or 1)
    return (math.log10(plain) if plain else -math.inf) + int((found["power"] or "0").translate(_DIGITS))


def place(time: str, end: str = "t = 10¹⁰⁰⁰") -> float:
    """Where the slider of a flow is at a time, in [0, 1]: it is even in log(1 + log(1 + t)).

    >>> place("t = 0"), round(place("t = 10²⁰"), 3), place("t = 10¹⁰⁰⁰")
    (0.0, 0.497, 1.0)
    """
    return _elapsed(log10_of(time)) / _elapsed(log10_of(end))


def link(options: dict[str, str], at: float) -> str:
    """The part of an address that opens the demo page at a step: #films&film=four&at=0.5, or #lab&K=5&at=1."""
    what = f"films&film={options['scenario']}" if "scenario" in options else f"lab&{options['lab']}"
    return f"#{what}&at={at:.4f}"


def _elapsed(log10_t: float) -> float:
    log_t = log10_t * math.log(10)
    return math.log1p(max(log_t, 0.0) + math.log1p(math.exp(-abs(log_t))) if log_t > -math.inf else 0.0)
