"""Two processes that share the samples have the table of one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from two_processes import K, data, monitored, network

import ulpm


def test_two_processes_equal_one(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    script = Path(__file__).with_name("two_processes.py")
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path)],
            env={**os.environ, **place, "RANK": rank, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in processes:
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found[0]["rows"] == found[1]["rows"]
    assert [each["said"] for each in found] == [1, 0]
    assert all(each["kept"] for each in found)
    assert all("-1" in each["refused"] for each in found)

    x, y = data()
    expected = monitored(network(), list(zip(x.split(10), y.split(10), strict=True)))
    assert len(found[0]["rows"]) == len(expected) > 80
    for here, there in zip(found[0]["rows"], expected, strict=True):
        assert here == {**there, "value": pytest.approx(there["value"], rel=1e-9, abs=1e-15)}

    alone = ulpm.Monitor(network(), [(x, y)]).step(0)
    for each in found:
        for here, there in zip(each["one sided"], alone, strict=True):
            assert here == {**there, "value": pytest.approx(there["value"], rel=1e-9, abs=1e-15)}

    if "metric" in found[0]:
        moments = ulpm.ClassMoments(K, 4)
        keep = (torch.arange(30) < 20) | (y != 0)
        moments.update(x[keep], y[keep])
        alone = ulpm.neural_collapse_from_moments(moments, torch.eye(K, 4, dtype=torch.float64))
        for key in ("nc1_pinv", "nc1_cdnv", "nc2_angle_means"):
            assert found[0]["metric"][key] == found[1]["metric"][key] == pytest.approx(float(alone[key]), rel=1e-9)
