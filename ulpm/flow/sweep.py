"""Replicas spread over processes: each follows some of them on its own, and now and then all put together what is."""

import dataclasses
import math

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
    own = len(loop.status)
    replicas = int(shard.sum(torch.tensor(own, device=shard.device)))

    def join(part: Tensor, axis: int = 0) -> Tensor:
        # No backend takes truth values.
        sent = part.to(shard.device, torch.uint8 if part.dtype == torch.bool else part.dtype)
        return shard.join(sent, replicas, axis).to(part.device, part.dtype)

    codes = torch.tensor([list(Status).index(status) for status in loop.status])
    status = [list(Status)[code] for code in join(codes).tolist()]
    both = loop.cohort.join(loop.waiting)
    under_way = torch.arange(len(both.replicas)) < len(loop.cohort.replicas)
    place = torch.zeros(own, dtype=torch.int64).index_put_((both.replicas,), 2 - under_way.long())
    place = join(place)
    everyone = both
    if bool(place.any()):
        fields = {}
        for field in dataclasses.fields(Cohort):
            values = getattr(both, field.name)
            of_all = values.new_zeros(own, *values.shape[1:])
            of_all[both.replicas.to(values.device)] = values
            fields[field.name] = join(of_all)
        everyone = Cohort(**fields | {"replicas": torch.arange(replicas)})
    recorder, milestones = loop.recorder, loop.milestones
    kept = recorder.snapshots
    joined = FlowLoop(
        loop.system,
        Milestones(milestones.kind, join(milestones.marks, 1), join(milestones.start_log_loss)),
        Recorder(
            loop.system.problem,
            {name: join(value) for name, value in recorder.invariants.items()},
            Snapshots(kept.records, join(kept.W, 1), join(kept.H, 1)),
            (len(milestones.marks), replicas),
            loop.final.device,
        ),
        everyone.take((place == 1).nonzero()[:, 0]),
        everyone.take((place == 2).nonzero()[:, 0]),
        join(loop.final),
        loop.rtol,
    )
    joined.recorder.table = {name: join(column, 1) for name, column in recorder.table.items()}
    joined.status = status
    totals = shard.sum(torch.tensor(list(loop.counts.values()), device=shard.device))
    joined.counts = dict(zip(loop.counts, totals.tolist(), strict=True))
    # The limit of steps is one of attempts for each cohort that replicas make.
    share = shard.gather(torch.tensor(loop.counts["attempts"] / loop.cohorts, device=shard.device)).max()
    joined.counts["attempts"] = math.ceil(float(share) * joined.cohorts)
    return joined


def own_replicas(loop: FlowLoop, shard: Shard) -> FlowLoop:
    """Of the loop of all replicas, which every process has, that of the replicas of this process."""
    part = shard.part(len(loop.status))

    def take(cohort: Cohort) -> Cohort:
        mine = cohort.take(((cohort.replicas >= part.start) & (cohort.replicas < part.stop)).nonzero()[:, 0])
        mine.replicas = mine.replicas - part.start
        return mine

    recorder, milestones = loop.recorder, loop.milestones
    kept = recorder.snapshots
    own = FlowLoop(
        loop.system,
        Milestones(milestones.kind, milestones.marks[:, part], milestones.start_log_loss[part]),
        Recorder(
            loop.system.problem,
            {name: value[part] for name, value in recorder.invariants.items()},
            Snapshots(kept.records, kept.W[:, part], kept.H[:, part]),
            (len(milestones.marks), part.stop - part.start),
            loop.final.device,
        ),
        take(loop.cohort),
        take(loop.waiting),
        loop.final[part].clone(),
        loop.rtol,
    )
    own.recorder.table = {name: column[:, part].clone() for name, column in recorder.table.items()}
    own.status = loop.status[part]
    attempts = math.ceil(loop.counts["attempts"] / loop.cohorts * own.cohorts)
    # What was counted so far is counted once.
    own.counts = {name: count if shard.leads else 0 for name, count in loop.counts.items()} | {"attempts": attempts}
    return own
