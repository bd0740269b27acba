"""The processes that torchrun starts, each with a share of every batch; without torchrun there is one."""

import contextlib
from collections.abc import Iterator

import torch.distributed as dist

from ulpm.distributed import others_ended, torchrun_shard
from ulpm.support import Shard

__all__ = ["torchrun_workers"]

_OF_CONNECTIONS = ("gloo", "Gloo", "NCCL", "Connection", "Broken pipe")


@contextlib.contextmanager
def torchrun_workers(device: str) -> Iterator[Shard]:
    """The processes of this run, each with its device, as ``torchrun_shard`` has them.

    Raises: ValueError if the device is not there, ConnectionError with one sentence if another process has ended. The
    errors of torch's own exchanges, as of gradients, become the same.
    """
    count = 1
    try:
        with torchrun_shard(device) as shard:
            count = shard.count
            try:
                yield shard
            except RuntimeError as error:
                of_others = isinstance(error, dist.DistError) or any(word in str(error) for word in _OF_CONNECTIONS)
                if count == 1 or not of_others:
                    raise
                raise others_ended() from error
    except ConnectionError as error:
        if count == 1:
            raise  # such as that of a download
        raise ConnectionError(
            f"{str(error).removesuffix('.')}: the same command with --resume continues from the last checkpoint."
        ) from error
