"""Under what circumstances an experiment ran: configuration, hardware, versions."""

import dataclasses
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ulpm.distributed import Shard
from ulpm.support import versions

__all__ = ["circumstances"]


def circumstances(config: Any, shard: Shard) -> dict[str, Any]:
    """The configuration, the hardware, and the versions of the libraries."""
    return {"config": dataclasses.asdict(config), "hardware": _hardware(config.device, shard), "versions": versions()}


def _hardware(device: str, shard: Shard) -> str:
    """The hardware in words."""
    if device.startswith("cuda"):
        return f"{'one' if shard.count == 1 else shard.count} {torch.cuda.get_device_name(device)}"
    processes = "" if shard.count == 1 else f" in each of {shard.count} processes"
    return f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} thread(s) used{processes}"


def _processor() -> str:
    """The name of the processor from Linux, else the architecture."""
    information = Path("/proc/cpuinfo")
    lines: Iterable[str] = information.read_text(encoding="utf-8").splitlines() if information.exists() else ()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{platform.machine()} ({next(names, 'unnamed processor')})"
