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

from ulpm.support import checks

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
        """Until every process is here."""
        if self.count > 1:
            dist.barrier()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any process."""
        if self.count == 1:
            return flag
        total = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(total)
        return bool(total > 0)

    def texts(self, text: str) -> list[str]:
        """What each process says."""
        if self.count == 1:
            return [text]
        letters = torch.tensor(list(text.encode()), dtype=torch.uint8, device=self.device)
        length = torch.tensor([len(letters)], device=self.device)
        lengths = [torch.empty_like(length) for _ in range(self.count)]
        dist.all_gather(lengths, length)
        longest = max(int(each) for each in lengths)
        said = [letters.new_zeros(longest) for _ in lengths]
        dist.all_gather(said, torch.nn.functional.pad(letters, (0, longest - len(letters))))
        return [bytes(row[: int(n)].tolist()).decode() for row, n in zip(said, lengths, strict=True)]

    def together(self, work: Callable[[], Result]) -> Result:
        """What ``work`` gives here, if it succeeds on every process; it may not speak to the others itself.

        Raises: on all of them, what was raised here or else a ValueError with the sentence of the first that failed.
        """
        done: list[Result] = []
        refusal: Exception | None = None
        try:
            done.append(work())
        except (ValueError, TypeError, OSError) as error:
            refusal = error
        sentences = [sentence for sentence in self.texts("" if refusal is None else str(refusal)) if sentence]
        if sentences:
            raise refusal or ValueError(sentences[0])
        return done[0]


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
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(word in str(error) for word in _OF_CONNECTIONS):
            raise
        raise _end() from error
    finally:
        dist.destroy_process_group()


_OF_CONNECTIONS = ("gloo", "Gloo", "NCCL", "Connection", "Broken pipe")


def _end() -> ConnectionError:
    """What to say when the others are gone; torchrun's SIGTERM, which may come any moment, must not come before it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return ConnectionError(
        "another process of this run has ended, or torchrun was stopped: the same command with --resume goes on from "
        "the last checkpoint."
    )


def _terminated(*received: object) -> None:
    raise _end()
