"""Replicas spread over processes: each follows some of them on its own, and the results are gathered once."""

import torch
from torch import Tensor

from ulpm.distributed import Shard
from ulpm.flow.loop import FlowLoop
from ulpm.trajectory import Snapshots, Status

__all__ = ["gather_replicas"]


def gather_replicas(loop: FlowLoop, shard: Shard, replicas: int) -> None:
    """Give ``loop``, which has followed the replicas of this process to their ends, the results of all ``replicas``."""

    def join(part: Tensor, axis: int) -> Tensor:
        columns = part.to(shard.device).movedim(axis, -1)
        return shard.join(columns, replicas).movedim(-1, axis).to(part.device).contiguous()

    recorder, kinds = loop.recorder, list(Status)
    recorder.table = {name: join(column, 1) for name, column in recorder.table.items()}
    kept = recorder.snapshots
    recorder.snapshots = Snapshots(kept.records, join(kept.W, 1), join(kept.H, 1))
    loop.final = join(loop.final, 0)
    codes = join(torch.tensor([kinds.index(status) for status in loop.status]), 0)
    loop.status = [kinds[code] for code in codes.tolist()]
    totals = shard.sum(torch.tensor(list(loop.counts.values()), device=shard.device))
    loop.counts = dict(zip(loop.counts, totals.tolist(), strict=True))
