"""The processes that torchrun starts, each with a share of every batch; without torchrun there is one."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import torch
import torch.distributed as dist

from ulpm.support import Shard, checks

__all__ = ["torchrun_workers"]


@contextlib.contextmanager
def torchrun_workers(device: str) -> Iterator[Shard]:
    """The processes of this run, each with its device: gloo on the CPU, NCCL with one GPU a process.

    Raises: ValueError if the device is not there, ConnectionError with one sentence if another process has ended.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Shard(device=checks.device(device))
        return
    where = checks.device(f"cuda:{os.environ['LOCAL_RANK']}" if device == "cuda" else device)
    if where.type == "cuda":
        torch.cuda.set_device(where)
    if threading.current_thread() is threading.main_thread():
        # When one process dies, torchrun terminates the others, often before they miss it.
        signal.signal(signal.SIGTERM, _terminated)
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        yield Shard(dist.get_rank(), count, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), where)
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
