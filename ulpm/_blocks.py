"""Large matrices a block at a time, which on a CPU stays in its cache: a pass over memory for all that is computed.

A temporary as large as the matrix would cost more than the arithmetic.
"""

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# 32 MB of float64. What fits is computed at once.
LARGEST = 2**22
# 1 MB.
SMALL = 2**17


def column_tiles(matrix: Float[Tensor, "*batch d N"]) -> list[slice]:
    """Consecutive parts of the columns, which on a CPU stay in its cache: for what is made only to be summed up."""
    entries = matrix.shape[:-1].numel()
    # A few columns of many matrices would lie far apart.
    cached = matrix.device.type == "cpu" and entries == matrix.shape[-2]
    return parts(matrix.shape[-1], (SMALL if cached else LARGEST) // max(1, entries))


def blocks(matrix: Float[Tensor, "*batch d N"]) -> list[tuple[slice, slice]]:
    """Parts of a matrix that lie together in memory, as rows and columns, and on a CPU stay in its cache.

    They are parts of the rows, or of the columns of a transposed matrix.
    """
    if matrix.stride(-1) > matrix.stride(-2):
        return [(slice(None), columns) for columns in column_tiles(matrix)]
    entries = matrix.shape[:-2].numel() * matrix.shape[-1]
    size = SMALL if matrix.device.type == "cpu" else LARGEST
    return [(rows, slice(None)) for rows in parts(matrix.shape[-2], size // max(1, entries))]


def over_blocks(
    matrix: Float[Tensor, "*batch d N"], sums: Callable[[slice, slice], Float[Tensor, "... n"]]
) -> Float[Tensor, "... N"]:
    """Sums over the rows of a matrix from those over the rows of each block, by the rows and columns of the block."""
    here = blocks(matrix)
    found = [sums(rows, columns) for rows, columns in here]
    return torch.cat(found, -1) if here[0][0] == slice(None) else functools.reduce(torch.add, found)


def parts(rows: int, step: int) -> list[slice]:
    """Consecutive slices of at most ``step`` rows."""
    return [slice(first, min(first + max(1, step), rows)) for first in range(0, rows, max(1, step))]
