"""Replicas spread over processes: each follows some of them, and at intervals all processes combine their results."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from ulpm.distributed import ALONE, Shard
from ulpm.flow.cohort import Cohort
from ulpm.flow.loop import FlowLoop
from ulpm.flow.state import FlowState, vars_of

__all__ = ["join_replicas", "own_replicas", "shared_out"]


def shared_out(shard: Shard, replicas: int, samples: int) -> tuple[Shard, Shard]:
    """What the processes share, the replicas if there are several, else the samples: (replicas, samples).

    Raises: ValueError if there are more processes than there is to share.
    """
    things, total = ("replicas", replicas) if replicas > 1 else ("samples", samples)
    if shard.count > total:
        raise ValueError(f"{shard.count} processes cannot share {total} {things}: start fewer.")
    return (shard, ALONE) if replicas > 1 else (ALONE, shard)


def join_replicas(loop: FlowLoop, state: FlowState, shard: Shard) -> FlowState:
    """The state of all replicas, of which ``state`` has those of this process; the same on every process."""
    replicas = int(shard.all_reduce(torch.tensor(len(state.codes), dtype=torch.int64, device=shard.device)))

    def join(part: Tensor, axis: int) -> Tensor:
        # gloo takes no truth values.
        sent = part.to(shard.device, torch.uint8 if part.dtype == torch.bool else part.dtype)
        return shard.join(sent, replicas, axis).to(part.device, part.dtype)

    totals = shard.all_reduce(torch.tensor(list(state.counts.values()), dtype=torch.int64, device=shard.device))
    counts = dict(zip(state.counts, totals.tolist(), strict=True))
    joined = state.with_replicas(join, *_joined_cohorts(state, join), counts)
    # The limit is one of attempts for each cohort that replicas make. By the process that has made fewest, so that none
    # is stopped earlier than it would have been; one that has ended has no say.
    share = state.counts["attempts"] / loop.cohorts(state)
    shares = shard.all_gather(
        torch.tensor([share, share if state.running else math.inf], dtype=torch.float64, device=shard.device)
    )
    least = min(float(shares[:, 1].min()), float(shares[:, 0].max()))
    return dataclasses.replace(joined, counts=counts | {"attempts": math.ceil(least * loop.cohorts(joined))})


def own_replicas(loop: FlowLoop, state: FlowState, shard: Shard) -> FlowState:
    """Of the state of all replicas, which every process has, that of the replicas of this process."""
    part = shard.part(len(state.codes))

    def take(values: Tensor, axis: int) -> Tensor:
        # A copy, so that the whole can be forgotten.
        return values.narrow(axis, part.start, part.stop - part.start).clone()

    def mine(cohort: Cohort) -> Cohort:
        some = cohort.take(((cohort.replicas >= part.start) & (cohort.replicas < part.stop)).nonzero()[:, 0])
        some.replicas = some.replicas - part.start
        return some

    # What was counted so far is counted once.
    counts = {name: count if shard.leads else 0 for name, count in state.counts.items()}
    own = state.with_replicas(take, mine(state.cohort), mine(state.waiting), counts)
    attempts = math.ceil(state.counts["attempts"] / loop.cohorts(state) * loop.cohorts(own))
    return loop.refill(dataclasses.replace(own, counts=counts | {"attempts": attempts}))


def _joined_cohorts(state: FlowState, join: Callable[[Tensor, int], Tensor]) -> tuple[Cohort, Cohort]:
    """The replicas of all processes that are under way, and those that wait."""
    own, both = len(state.codes), state.cohort.join(state.waiting)
    under_way = torch.arange(len(both.replicas), device="cpu") < len(state.cohort.replicas)
    place = torch.zeros(own, dtype=torch.int64, device="cpu").index_put_((both.replicas,), 2 - under_way.long())
    place = join(place, 0)
    if not bool(place.any()):
        return both, both
    fields = {}
    for name, values in vars_of(both).items():
        of_all = values.new_zeros(own, *values.shape[1:])
        of_all[both.replicas.to(values.device)] = values
        fields[name] = join(of_all, 0)
    everyone = Cohort(**fields | {"replicas": torch.arange(len(place), device="cpu")})
    return everyone.take((place == 1).nonzero()[:, 0]), everyone.take((place == 2).nonzero()[:, 0])
