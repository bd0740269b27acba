"""Random damage to the bytes of a file."""

import random
import re
from collections.abc import Callable

__all__ = ["mutated"]

# Headers and metadata are a small share of a file, and the larger one of its meaning.
_HEADER = 3000


def mutated(content: bytes, seed: int) -> bytes:
    """``content`` after one to three random changes, half of them near its beginning; never equal to it."""
    rng = random.Random(seed)
    changed = content
    while changed == content:
        for _ in range(rng.choice((1, 1, 2, 3))):
            changed = rng.choice(_CHANGES)(changed, rng)
    return changed


def _place(content: bytes, rng: random.Random) -> int:
    end = max(1, len(content))
    return rng.randrange(min(end, _HEADER) if rng.random() < 0.5 else end)


def _flip_a_bit(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([byte ^ 1 << rng.randrange(8) for byte in content[at : at + 1]]) + content[at + 1 :]


def _write_a_byte(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: _place(content, rng)]


def _insert(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.randbytes(rng.randint(1, 20)) + content[at:]


def _delete(content: bytes, rng: random.Random) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + rng.randint(1, 20) :]


def _zero(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.randint(1, 64)
    return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    at, length = _place(content, rng), rng.randint(1, 64)
    return content[: at + length] + content[at:]


def _edit(pattern: bytes, others: tuple[bytes, ...]) -> Callable[[bytes, random.Random], bytes]:
    """Replace one of the places where ``pattern`` is by something that fits there as well."""

    def edit(content: bytes, rng: random.Random) -> bytes:
        places = [found.span() for found in re.finditer(pattern, content[:_HEADER])]
        if not places:
            return content
        start, end = rng.choice(places)
        return content[:start] + rng.choice(others) + content[end:]

    return edit


_CHANGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip_a_bit,
    _flip_a_bit,
    _write_a_byte,
    _truncate,
    _insert,
    _delete,
    _zero,
    _repeat,
    _edit(rb"\d", tuple(bytes([digit]) for digit in b"0123456789")),
    _edit(rb"\d+", (b"-1", b"10000000000000000000000", b"1e400", b"null", b"true", b'"x"', b"[]", b"{}")),
    _edit(rb'"[a-z_]+', (b'"seed', b'"W', b'"kind', b'"', b'"dtype', b'"x')),
    _edit(rb"F64|I64|BOOL", (b"F64", b"I64", b"F32", b"U64", b"F16", b"F8_E4M3", b"BOOL")),
    _edit(rb"true|false|null", (b"true", b"false", b"null", b"NaN")),
)
