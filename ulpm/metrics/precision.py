"""The precision of numbers, read off the numbers: what a network gives in bfloat16 stays so when it is converted."""

import torch
from jaxtyping import Int
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps
COARSEST = torch.finfo(torch.bfloat16).eps
BITS_OF_HALVES = 11
"""Those of float16; bfloat16 has fewer."""
_BITS_OF_FLOAT32, _GLANCE = 24, 64
_FIRST = 2**52


def lowest_bit(values: Tensor) -> Int[Tensor, ""]:
    """The lowest bit, of mantissas of 53, that any of ``values`` needs; 2^52, the first, if all are 0."""
    # What is above the mantissa in a float64 does not matter, once its first bit is there, which is not written.
    bits = values.double().resolve_neg().view(torch.int64) | _FIRST
    return (bits & -bits).min()


def glance(values: Tensor) -> Int[Tensor, ""]:
    """``lowest_bit`` of a part of matrices."""
    return lowest_bit(values[..., :_GLANCE, :_GLANCE])


def bits_of(lowest: int) -> int:
    """Significant bits, by the lowest that is needed."""
    return max(0, 54 - lowest.bit_length())


def significant_bits(values: Tensor) -> int:
    """The fewest significant bits that hold every one of ``values`` exactly: up to 8 of bfloat16, 24 of float32."""
    bits = bits_of(int(lowest_bit(values))) if values.numel() else 0
    return 0 if bits == 1 and not bool(values.any()) else bits


def format_bits(values: Tensor, in_float32: bool = False, few: int | None = None) -> int:
    """``significant_bits`` of matrices, or fewer of the same format, once a part of them is seen to need this format.

    That is float64, or float32 for values that were ``in_float32``, which has no more bits. ``few`` are those that the
    ``glance`` has seen.
    """
    few = significant_bits(values[..., :_GLANCE, :_GLANCE]) if few is None else few
    enough = BITS_OF_HALVES if in_float32 else _BITS_OF_FLOAT32
    return few if few > enough else significant_bits(values)


def epsilon_of(bits: int) -> float:
    """The machine epsilon of the format of numbers with so many significant bits: bfloat16, float16, float32, float64.

    Numbers of up to six bits (0, 1, 1/2 …) count as exact: no format in use rounds to so few.
    """
    if bits <= 6:
        return EPSILON
    formats = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
    return next(eps for eps in (torch.finfo(dtype).eps for dtype in formats) if eps <= 2.0 ** (1 - bits))
