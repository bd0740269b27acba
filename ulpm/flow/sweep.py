"""Replicas spread over processes: each follows some of them on its own, and now and then all put together what is."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.flow.cohort import Cohort
from ulpm.flow.loop import FlowLoop
from ulpm.flow.milestones import Milestones
from ulpm.recorder import Recorder
from ulpm.trajectory import Snapshots, Status

__all__ = ["join_replicas", "own_replicas", "shared_out"]


def shared_out(shard: Shard, replicas: int, samples: int) -> tuple[Shard, Shard]:
    """What the processes share, the replicas if there are several, else the samples: (replicas, samples).

    Raises: ValueError if there are more processes than there is to share.
    """
    things, total = ("replicas", replicas) if replicas > 1 else ("samples", samples)
    if shard.count > total:
        raise ValueError(f"{shard.count} processes cannot share {total} {things}: start fewer.")
    return (shard, ALONE) if replicas > 1 else (ALONE, shard)


def join_replicas(loop: FlowLoop, shard: Shard) -> FlowLoop:
    """The loop of all replicas, of which ``loop`` has those of this process; the same on every process."""
    replicas = int(shard.sum(torch.tensor(len(loop.status), dtype=torch.int64, device=shard.device)))

    def join(part: Tensor, axis: int) -> Tensor:
        # gloo takes no truth values.
        sent = part.to(shard.device, torch.uint8 if part.dtype == torch.bool else part.dtype)
        return shard.join(sent, replicas, axis).to(part.device, part.dtype)

    cohort, waiting = _joined_cohorts(loop, join)
    joined = _of_other_replicas(loop, cohort, waiting, join)
    codes = torch.tensor([list(Status).index(status) for status in loop.status], dtype=torch.int64, device="cpu")
    joined.status = [list(Status)[code] for code in join(codes, 0).tolist()]
    totals = shard.sum(torch.tensor(list(loop.counts.values()), dtype=torch.int64, device=shard.device))
    joined.counts = dict(zip(loop.counts, totals.tolist(), strict=True))
    # The limit is one of attempts for each cohort that replicas make. By the process that has made fewest, so that none
    # is stopped earlier than it would have been; one that has ended has no say.
    share = loop.counts["attempts"] / loop.cohorts
    shares = shard.gather(
        torch.tensor([share, share if loop.running else math.inf], dtype=torch.float64, device=shard.device)
    )
    least = min(float(shares[:, 1].min()), float(shares[:, 0].max()))
    joined.counts["attempts"] = math.ceil(least * joined.cohorts)
    return joined


def own_replicas(loop: FlowLoop, shard: Shard) -> FlowLoop:
    """Of the loop of all replicas, which every process has, that of the replicas of this process."""
    part = shard.part(len(loop.status))

    def take(values: Tensor, axis: int) -> Tensor:
        # A copy, so that the whole can be forgotten.
        return values.narrow(axis, part.start, part.stop - part.start).clone()

    def mine(cohort: Cohort) -> Cohort:
        some = cohort.take(((cohort.replicas >= part.start) & (cohort.replicas < part.stop)).nonzero()[:, 0])
        some.replicas = some.replicas - part.start
        return some

    own = _of_other_replicas(loop, mine(loop.cohort), mine(loop.waiting), take)
    own.status = loop.status[part]
    attempts = math.ceil(loop.counts["attempts"] / loop.cohorts * own.cohorts)
    # What was counted so far is counted once.
    own.counts = {name: count if shard.leads else 0 for name, count in loop.counts.items()} | {"attempts": attempts}
    own.refill()
    return own


def _of_other_replicas(
    loop: FlowLoop, cohort: Cohort, waiting: Cohort, changed: Callable[[Tensor, int], Tensor]
) -> FlowLoop:
    """A loop like ``loop`` with more or fewer replicas; ``changed`` does that to a tensor along an axis."""
    recorder, milestones, kept = loop.recorder, loop.milestones, loop.recorder.snapshots
    final = changed(loop.final, 0)
    other = FlowLoop(
        loop.system,
        Milestones(milestones.kind, changed(milestones.marks, 1), changed(milestones.start_log_loss, 0)),
        Recorder(
            loop.system.problem,
            {name: changed(value, 0) for name, value in recorder.invariants.items()},
            Snapshots(kept.records, changed(kept.W, 1), changed(kept.H, 1)),
            (len(milestones.marks), len(final)),
            final.device,
        ),
        cohort,
        waiting,
        final,
        loop.rtol,
    )
    other.recorder.table = {name: changed(column, 1) for name, column in recorder.table.items()}
    return other


def _joined_cohorts(loop: FlowLoop, join: Callable[[Tensor, int], Tensor]) -> tuple[Cohort, Cohort]:
    """The replicas of all processes that are under way, and those that wait."""
    own, both = len(loop.status), loop.cohort.join(loop.waiting)
    under_way = torch.arange(len(both.replicas), device="cpu") < len(loop.cohort.replicas)
    place = torch.zeros(own, dtype=torch.int64, device="cpu").index_put_((both.replicas,), 2 - under_way.long())
    place = join(place, 0)
    if not bool(place.any()):
        return both, both
    fields = {}
    for field in dataclasses.fields(Cohort):
        values = getattr(both, field.name)
        of_all = values.new_zeros(own, *values.shape[1:])
        of_all[both.replicas.to(values.device)] = values
        fields[field.name] = join(of_all, 0)
    everyone = Cohort(**fields | {"replicas": torch.arange(len(place), device="cpu")})
    return everyone.take((place == 1).nonzero()[:, 0]), everyone.take((place == 2).nonzero()[:, 0])
