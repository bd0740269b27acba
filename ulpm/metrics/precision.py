"""The precision of numbers, read off the numbers: what a network gives in bfloat16 stays so when it is converted."""

import torch
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps
COARSEST = torch.finfo(torch.bfloat16).eps
BITS_OF_HALVES = 11
"""Those of float16; bfloat16 has fewer."""
_BITS_OF_FLOAT32, _GLANCE = 24, 64


def significant_bits(values: Tensor) -> int:
    """The fewest significant bits that hold every one of ``values`` exactly: up to 8 of bfloat16, 24 of float32."""
    integers = (torch.frexp(values.double()).mantissa * 2.0**53).long()
    lowest = (integers & -integers)[integers != 0]
    return 53 - (int(lowest.min()).bit_length() - 1) if len(lowest) else 0


def format_bits(values: Tensor, in_float32: bool = False) -> int:
    """``significant_bits`` of matrices, or fewer of the same format, once a part of them is seen to need this format.

    That is float64, or float32 for values that were ``in_float32``, which has no more bits.
    """
    few = significant_bits(values[..., :_GLANCE, :_GLANCE])
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
