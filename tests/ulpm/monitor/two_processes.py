"""What each of two processes does in ``test_monitor_processes.py``."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

import ulpm

K = 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, K)).double()


def data() -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(30) % K
    return torch.randn(30, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + y[:, None], y


def monitored(model: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]], log=None) -> list[dict]:
    options = {"layers": ["2", "3"], "means": "train", "batch_norm": "reestimated"}
    loaders = {"train": batches, "test": [(x + 0.1, y) for x, y in batches]}
    return [dict(row) for row in ulpm.Monitor(model, loaders, log=log, **options).step(0)]


def main(folder: Path) -> None:
    """Measure the share of this process: uneven batches, and a class that one process lacks."""
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    x, y = data()
    mine = [(x[:10], y[:10]), (x[10:20], y[10:20])] if rank == 0 else [(x[20:], y[20:])]
    said: list[dict] = []
    model = nn.parallel.DistributedDataParallel(network())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = monitored(model, mine, said.append)
    kept = all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    found = {"rows": rows, "said": len(said), "kept": kept}
    try:
        ulpm.Monitor(model, [(x, y - 1 if rank else y)]).step(0)
    except ValueError as error:
        found["refused"] = str(error)
    nothing = torch.full_like(y, -100)
    one_sided = ulpm.Monitor(network(), [(x, nothing if rank else y)]).step(0)
    found["one sided"] = [dict(row) for row in one_sided]
    try:
        from ulpm.monitor.torchmetrics import NeuralCollapse
    except ImportError:
        pass
    else:
        metric = NeuralCollapse(K, 4, classifier=nn.Linear(4, K))
        for inputs, labels in mine:
            keep = labels != 0 if rank else labels >= 0
            metric.update(inputs[keep], labels[keep])
        found["metric"] = {key: float(value) for key, value in metric.compute().items() if "classifier" not in key}
        metric.reset()
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
