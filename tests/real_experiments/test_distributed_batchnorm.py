"""Two processes that share every batch take the steps of one, batch statistics and gradients included."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from real_experiments.__main__ import main
from real_experiments.training_directory import TrainingDirectory
from ulpm import _files

SIZES = "--model resnet18 --width 4 --dataset fashion-mnist-sample --dtype float64 --no-progress --epochs 1"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("counts", "batch", "steps"),
    [
        ("17,15,13", "9", 5),  # 5 and 4 samples a process
        ("2,2,1", "1", 5),  # the second process has none
    ],
)
def test_two_processes_match_one(tmp_path: Path, counts: str, batch: str, steps: int) -> None:
    arguments = ["train", *SIZES.split(), "--class-counts", counts, "--batch-size", batch]
    assert main([*arguments, "--out", str(tmp_path / "one")]) == 0
    launcher = ["torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    launcher += ["--master-port", str(free_port()), "-m", "real_experiments"]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *launcher, *arguments, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    one, two = (_files.read_tensors(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two"))
    assert one[1]["steps"] == two[1]["steps"] == steps
    assert one[0].keys() == two[0].keys()
    for name, value in one[0].items():
        # The table has infinite bounds where nothing is separated yet.
        torch.testing.assert_close(value, two[0][name], rtol=0, atol=1e-10, equal_nan=True, msg=name)
    rows = [TrainingDirectory(tmp_path / name).read_rows() for name in ("one", "two")]
    assert rows[0][0] == pytest.approx(rows[1][0], rel=1e-6, abs=1e-10)
    assert TrainingDirectory(tmp_path / "two").read_config()["processes"] == 2
