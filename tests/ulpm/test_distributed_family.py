"""Flows of the whole family on several processes are those on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import ulpm

pytestmark = pytest.mark.usefixtures("unchecked_module")

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
MEMBERS = {
    "mean": ulpm.Problem([3, 2, 4], 5, reduction="mean"),
    "bias": ulpm.Problem([3, 2, 4], 5, bias=True),
    "decay": ulpm.Problem([3, 2, 4], 5, weight_decay=(5e-3, 1e-3), bias=True, reduction="mean"),
    "smoothing": ulpm.Problem([3, 2, 4], 5, loss=ulpm.CrossEntropy(label_smoothing=0.1), weight_decay=(1e-3, 1e-3)),
    "focal": ulpm.Problem([3, 2, 4], 5, loss=ulpm.Focal(gamma=2.0)),
    "squared": ulpm.Problem([3, 2, 4], 5, loss=ulpm.SquaredError(), weight_decay=(1e-3, 5e-3), reduction="mean"),
}
WORKER = """
import json, sys, torch, ulpm
from ulpm.distributed import torchrun_shard

torch.set_num_threads(1)
with torchrun_shard("cpu") as shard:
    for name, record in json.loads(sys.argv[2]).items():
        problem = ulpm.Problem.from_record(record)
        start = problem.random_state(seed=0)
        path = ulpm.gradient_flow(problem, start, log_time=5.0, records=5, snapshots=2, shard=shard)
        if shard.leads:
            path.save(f"{sys.argv[1]}/{name}.safetensors")
        checkpoint = f"{sys.argv[1]}/{name}-checkpoint.safetensors"
        ulpm.gradient_flow(problem, start, log_time=5.0, records=5, max_steps=9, checkpoint=checkpoint, shard=shard)
"""


def test_two_processes_make_the_records_of_one_for_each_member(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    members = json.dumps({name: problem.record() for name, problem in MEMBERS.items()})
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*TORCHRUN, str(script), str(tmp_path), members]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, problem in MEMBERS.items():
        together = ulpm.Trajectory.load(tmp_path / f"{name}.safetensors")
        alone = ulpm.gradient_flow(problem, problem.random_state(seed=0), log_time=5.0, records=5, snapshots=2)
        begun = ulpm.resume_flow(tmp_path / f"{name}-checkpoint.safetensors", max_steps=1000)
        for path in (together, begun):
            assert path.problem == problem
            assert path.stats["steps"] == alone.stats["steps"]
            for key, values in alone.columns().items():
                floor = 1e-12 if key.endswith("drift") else 1e-13
                torch.testing.assert_close(path.columns()[key], values, rtol=1e-9, atol=floor, msg=f"{name}: {key}")
            end = path.final_state.vector()
            torch.testing.assert_close(end, alone.final_state.vector(), rtol=1e-10, atol=1e-11)
