"""How many threads a run should use: small problems are several times slower with two than with one."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

# Below this many numbers in the state, what threads save is less than what they cost when one has to wait for the
# other: on a machine with other work to do, a run of K=4 n=5 d=20 is several times slower with two than with one.
_NUMBERS_FOR_THREADS = 2**17


@contextlib.contextmanager
def suitable_threads(y: Tensor) -> Iterator[None]:
    """Within it, torch uses one thread if ``y``, a state on the CPU, is small. Results depend on the size alone."""
    before = torch.get_num_threads()
    if y.device.type == "cpu" and y.numel() < _NUMBERS_FOR_THREADS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
