"""One flow on several processes: each holds its own columns of H, all hold the same W, and sums run over all.

A sum over samples is taken by each process over its own and then over the processes. What comes out is the same on
every one of them bit for bit, so that all take the same decisions, and with one process nothing is done at all.
"""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor

from ulpm import _checks

__all__ = ["ALONE", "Place", "Shard", "others_ended", "torchrun_place", "torchrun_shard"]

Result = TypeVar("Result")

_SENT_AT_ONCE = 2**20


@dataclasses.dataclass(frozen=True)
class Shard:
    """The share of process number ``rank`` of ``count``, of which ``neighbours`` are on the same machine."""

    rank: int = 0
    count: int = 1
    neighbours: int = 1
    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and speaks."""
        return self.rank == 0

    def sizes(self, total: int) -> list[int]:
        """How many of ``total`` things each process has: as even as possible, the first ones may have one more."""
        return [total // self.count + (rank < total % self.count) for rank in range(self.count)]

    def part(self, total: int) -> slice:
        """Which of ``total`` things this process has."""
        sizes = self.sizes(total)
        first = sum(sizes[: self.rank])
        return slice(first, first + sizes[self.rank])

    def all_reduce(self, part: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
        """The sum over processes of tensors of one shape, in a new tensor."""
        if self.count == 1:
            return part
        total = part.clone(memory_format=torch.contiguous_format)
        with _one_sentence():
            dist.all_reduce(total)
        return total

    def all_gather(self, part: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "..."]:
        """What each process has, of one shape on all, as rows of one tensor."""
        if self.count == 1:
            return part[None]
        parts = [torch.empty_like(part, memory_format=torch.contiguous_format) for _ in range(self.count)]
        with _one_sentence():
            dist.all_gather(parts, part.contiguous())
        return torch.stack(parts)

    def join(self, part: Shaped[Tensor, "*any"], total: int, axis: int = -1) -> Shaped[Tensor, "..."]:
        """The ``total`` things along an axis, of which each process has its ``part``, some perhaps none."""
        if self.count == 1:
            return part
        sizes, n = self.sizes(total), part.shape[axis]
        before, after = math.prod(part.shape[:axis]), math.prod(part.shape[axis:][1:])
        own, whole = part.reshape(before, n, after), part.new_empty(before, total, after)
        # Some at a time: what is sent and received must not take as much memory as the whole.
        slices = max(1, _SENT_AT_ONCE // (sizes[0] * self.count))
        columns = max(1, min(after, slices))
        rows = max(1, slices // columns)
        for row, column in itertools.product(range(0, before, rows), range(0, after, columns)):
            here = slice(row, row + rows), slice(None), slice(column, column + columns)
            received = self.all_gather(torch.nn.functional.pad(own[here], (0, 0, 0, sizes[0] - n)))
            place = 0
            for size, theirs in zip(sizes, received, strict=True):
                whole[here][:, place : place + size] = theirs[:, :size]
                place += size
        return whole.view(*part.shape[:axis], total, *part.shape[axis:][1:])

    def first(self, values: Float[Tensor, "*batch d K"], there: Shaped[Tensor, " K"]) -> Float[Tensor, "*batch d K"]:
        """Column k of the first process where ``there[k]`` is not 0."""
        if self.count == 1:
            return values
        owner = (self.all_gather(there) != 0).int().argmax(0)
        return self.all_reduce(torch.where(owner == self.rank, values, 0.0))

    def texts(self, text: str) -> list[str]:
        """What each process says."""
        letters = torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")
        lengths = self.all_gather(torch.tensor(len(letters), dtype=torch.int64, device=self.device)).tolist()
        padded = torch.nn.functional.pad(letters, (0, max(lengths) - len(letters))).to(self.device)
        said = self.all_gather(padded).cpu()
        return [bytes(row[:n].tolist()).decode() for row, n in zip(said, lengths, strict=True)]

    def any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is set on any process."""
        if self.count == 1:
            return list(flags)
        return [bool(n) for n in self.all_reduce(torch.tensor(flags, dtype=torch.int64, device=self.device)).tolist()]

    def agree(self, arguments: Mapping[str, object]) -> None:
        """Raises: ValueError on all processes, if they were started with different arguments."""
        if self.count == 1:
            return
        told = [json.loads(text) for text in self.texts(json.dumps({name: str(arguments[name]) for name in arguments}))]
        for rank, others in enumerate(told):
            for name, value in others.items():
                if value != told[0].get(name):
                    option = "--" + name.replace("_", "-")
                    raise ValueError(
                        f"the processes of one run need the same arguments, but {option} is {told[0].get(name)} for "
                        f"process 0 and {value} for process {rank}."
                    )

    def together(self, work: Callable[[], Result]) -> Result:
        """What ``work`` gives here, if it succeeds on every process; it may not speak to the others itself.

        Raises: on all of them, what was raised here or else a ValueError with the sentence of the first that failed,
        whatever it was: one that left the others waiting for it would not be heard.
        """
        if self.count == 1:
            return work()
        done: list[Result] = []
        refusal: Exception | None = None
        try:
            done.append(work())
        except Exception as error:
            refusal = error
        said = "" if refusal is None else str(refusal) or type(refusal).__name__
        sentences = [sentence for sentence in self.texts(said) if sentence]
        if sentences:
            raise refusal or ValueError(sentences[0])
        return done[0]


ALONE = Shard()


@dataclasses.dataclass(frozen=True)
class Place:
    """Which process this is, of those that torchrun started: number ``rank`` of ``count``, and of its machine's."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    neighbours: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that speaks."""
        return self.rank == 0


def torchrun_place() -> Place:
    """The place that torchrun gave this process in its environment; one alone without WORLD_SIZE, whatever else is set.

    A batch system, or a shell, may have left a RANK of its own there.

    Raises: ValueError if what is there is no number of a process.
    """
    if (os.environ.get("WORLD_SIZE") or "1").strip() == "1":
        return Place()
    names = {"rank": "RANK", "count": "WORLD_SIZE", "local_rank": "LOCAL_RANK", "neighbours": "LOCAL_WORLD_SIZE"}
    defaults = {"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": os.environ.get("RANK", "0"), "LOCAL_WORLD_SIZE": "1"}
    texts = {field: os.environ.get(name, defaults[name]).strip() for field, name in names.items()}
    if not all(text.isascii() and text.isdigit() for text in texts.values()) or int(texts["rank"]) >= int(
        texts["count"]
    ):
        raise ValueError(
            f"the environment has RANK={os.environ.get('RANK')!r} and WORLD_SIZE={os.environ.get('WORLD_SIZE')!r}, "
            "which torchrun does not set so: unset both, or start with torchrun."
        )
    return Place(**{field: int(text) for field, text in texts.items()})


class _Terminated(BaseException):
    """SIGTERM from torchrun. No Exception, since code that explains errors of files or numbers must not catch it."""


@contextlib.contextmanager
def _one_sentence() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise others_ended() from error


def others_ended() -> ConnectionError:
    """What to say when the others are gone; torchrun's SIGTERM, which may come any moment, must not come before it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return ConnectionError("another process of this run has ended, or torchrun was stopped.")


def _terminated(*received: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Terminated


@contextlib.contextmanager
def _termination_as_sentence() -> Iterator[None]:
    """Within it SIGTERM becomes the same ConnectionError.

    When one process dies, torchrun terminates the others, often before they miss it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminated)
    try:
        yield
    except _Terminated as stop:
        raise others_ended() from stop
    finally:
        if signal.getsignal(signal.SIGTERM) is _terminated:  # else it is ignored until the sentence is printed
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _signals_end_at_once() -> Iterator[None]:
    """Within it SIGINT, SIGTERM and SIGHUP end the program, unless they are ignored.

    torch waits half an hour for the other processes, and Python's handlers wait for torch.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handled = {number: signal.getsignal(number) for number in numbers if callable(signal.getsignal(number))}
    try:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)
        yield
    finally:
        for number, before in handled.items():
            signal.signal(number, before)


@contextlib.contextmanager
def torchrun_shard(device: str) -> Iterator[Shard]:
    """The processes that torchrun started, with gloo on the CPU and NCCL with one GPU a process; else one alone.

    Raises: ValueError if the device is not there, ConnectionError if the processes do not find each other, or another
    one has ended.
    """
    place = torchrun_place()
    if place.count == 1:
        yield Shard(device=_checks.device(device))
        return
    where = _checks.device(f"cuda:{place.local_rank}" if device == "cuda" else device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    try:
        with _signals_end_at_once():
            dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    except RuntimeError as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        raise ConnectionError(
            f"process {place.rank} did not find the other processes of this run at {address}."
        ) from error
    with _termination_as_sentence():
        try:
            yield Shard(dist.get_rank(), place.count, place.neighbours, where)
        finally:
            dist.destroy_process_group()
