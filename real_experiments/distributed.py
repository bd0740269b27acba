"""The processes that torchrun starts, each with a share of every batch; without torchrun there is one."""

import contextlib
import dataclasses
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

from ulpm.support import Shard, checks

__all__ = ["Workers", "torchrun_workers"]

Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Workers:
    """``count`` processes, of which this is number ``rank``. All hold the same data and the same parameters."""

    rank: int = 0
    count: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

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
        """Wait until every process has arrived."""
        if self.count > 1:
            dist.barrier()

    @property
    def _shard(self) -> Shard:
        """The same processes as the core has them, with its messages."""
        return Shard(self.rank, self.count, device=self.device)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        return self._shard.any(flag)[0]

    def texts(self, text: str) -> list[str]:
        """The text of each process."""
        return self._shard.texts(text)

    def together(self, work: Callable[[], Result]) -> Result:
        """The result of ``work`` here, if it succeeds on every process (see ``Shard.together``)."""
        return self._shard.together(work)


@contextlib.contextmanager
def torchrun_workers(device: str) -> Iterator[tuple[Workers, torch.device]]:
    """The processes of this run and the device of this one: gloo on the CPU, NCCL with one GPU a process.

    Raises: ValueError if the device is not there, ConnectionError with one sentence if another process has ended.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        where = checks.device(device)
        yield Workers(device=where), where
        return
    where = checks.device(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if threading.current_thread() is threading.main_thread():
        # When one process dies, torchrun terminates the others, often before they miss it.
        signal.signal(signal.SIGTERM, _terminated)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Workers(dist.get_rank(), count, where), where
    except ConnectionError as error:
        raise _end() from error
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in _OF_CONNECTIONS):
            raise
        raise _end() from error
    finally:
        dist.destroy_process_group()


_OF_CONNECTIONS = ("gloo", "Gloo", "NCCL", "Connection", "Broken pipe")


def _end() -> ConnectionError:
    """The message when other processes have ended. It must come before torchrun's SIGTERM, which may follow soon."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return ConnectionError(
        "another process of this run has ended, or torchrun was stopped: the same command with --resume continues from "
        "the last checkpoint."
    )


def _terminated(*received: object) -> None:
    raise _end()
