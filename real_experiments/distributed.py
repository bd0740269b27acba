"""The processes that torchrun starts, each with a share of every batch; without torchrun there is one."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from ulpm.support import checks

__all__ = ["Workers", "torchrun_workers"]


@dataclasses.dataclass(frozen=True)
class Workers:
    """``count`` processes, of which this is number ``rank``. All hold the same data and the same parameters."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and shows progress."""
        return self.rank == 0

    def share(self, rows: Shaped[Tensor, " B *any"]) -> Shaped[Tensor, " part *any"]:
        """This process's part of ``rows``: contiguous, as even as possible, possibly empty."""
        return rows.tensor_split(self.count)[self.rank]

    def gather(self, part: Shaped[Tensor, " part *any"], total: int) -> Shaped[Tensor, " total *any"]:
        """Undo ``share`` of ``total`` rows: all parts, in order, on every process."""
        if self.count == 1:
            return part
        # Collectives want equal sizes: the first parts may have a row more than the others.
        sizes = [total // self.count + (rank < total % self.count) for rank in range(self.count)]
        padded = part.new_zeros(max(sizes), *part.shape[1:])
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([rows[:size] for rows, size in zip(parts, sizes, strict=True)])

    def wait(self) -> None:
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()


@contextlib.contextmanager
def torchrun_workers(device: str) -> Iterator[tuple[Workers, torch.device]]:
    """The processes of this run and the device of this one: gloo on the CPU, NCCL with one GPU a process.

    Raises: ValueError if the device is not there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Workers(), checks.device(device)
        return
    where = checks.device(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Workers(dist.get_rank(), count), where
    finally:
        dist.destroy_process_group()
