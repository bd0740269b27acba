"""The results of an experiment do not depend on the number of processes."""

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ulpm
from theory_experiments.__main__ import main
from theory_experiments.harness.work import Work

ROOT = Path(__file__).parents[3]
# It leaves a saddle along one of several equivalent directions, and rounding decides which.
AMPLIFIES_ROUNDING = {"narrow_features"}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run_on(processes: int, names: list[str], out: Path) -> subprocess.CompletedProcess[str]:
    command = ["-m", "theory_experiments", *names, "--quick", "--out", str(out)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run([sys.executable, *launch, *command], env=ENVIRONMENT, capture_output=True, text=True)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("processes", "names"),
    [
        (2, ["benign_landscape"]),
        pytest.param(3, ["implicit_bias", "rates", "minority_collapse", "narrow_features"], marks=pytest.mark.slow),
    ],
)
def test_claims_do_not_depend_on_the_number_of_processes(processes: int, names: list[str], tmp_path: Path) -> None:
    done = run_on(processes, names, tmp_path / "several")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("experiments verified") == 1
    assert main([*names, "--quick", "--out", str(tmp_path / "one")]) == 0
    several, one = (json.loads((tmp_path / folder / "claims.json").read_text()) for folder in ("several", "one"))
    assert several["experiments"].keys() == one["experiments"].keys() == set(names)
    assert f"torchrun --nproc-per-node {processes} -m theory_experiments" in str(several["experiments"])
    for kind in ("claims", "negative_controls"):
        assert len(several[kind]) == len(one[kind])
        for a, b in zip(several[kind], one[kind], strict=True):
            words = ("experiment", "variant", "comparator", "reason", "holds")
            assert [a.get(word) for word in words] == [b.get(word) for word in words]
            for number in ("measured", "bound"):
                pair = float(a[number]), float(b[number])
                # What is measured can be rounding, of which no digit need agree. A metric of 1e-5 late in a flow
                # reads what rounding makes of the state, 1e-13, as 1e-8 in its distance from its limit.
                late = number == "measured" and "divided by its predicted limit, distance from 1" in a["statement"]
                same = math.isclose(*pair, rel_tol=1e-6, abs_tol=1e-8 if late else 1e-11) or all(map(math.isnan, pair))
                assert same or a["experiment"] in AMPLIFIES_ROUNDING
    for name in names:
        assert (tmp_path / "several" / f"{name}.png").stat().st_size > 10_000


@pytest.mark.slow
def test_a_mistake_is_told_once(tmp_path: Path) -> None:
    done = run_on(2, ["nothing"], tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("theory_experiments: there is no experiment 'nothing'") == 1


def test_alone_the_work_is_the_plain_flow_and_the_plain_map() -> None:
    problem = ulpm.Problem([2, 2], 3)
    start = problem.random_state(replicas=3)
    said: list[str] = []
    tell: Callable[[str], Any] = said.append
    work = Work(tell)
    plain = ulpm.gradient_flow(problem, start, log_time=5, records=3)
    assert torch.equal(work.flow(problem, start, log_time=5, records=3).log_loss, plain.log_loss)
    norms, doubled = work.replicas(lambda W, H: (W.norm(dim=(1, 2)), 2 * H), start.W, start.H)
    assert torch.equal(norms, start.W.norm(dim=(1, 2)))
    assert torch.equal(doubled, 2 * start.H)


def test_a_run_with_the_same_start_and_settings_is_made_once() -> None:
    problem = ulpm.Problem([2, 2], 3)
    work = Work(lambda said: None)
    begun = problem.random_state(seed=0)
    path = work.flow(problem, begun, log_time=5, records=3)
    assert work.flow(problem, problem.random_state(seed=0), records=3, log_time=5) is path
    assert work.alone().flow(problem, begun, log_time=5, records=3) is path
    others = [
        work.flow(problem, begun, log_time=5, records=4),
        work.flow(problem, problem.random_state(seed=1), log_time=5, records=3),
        work.flow(ulpm.Problem([2, 2], 3, reduction="mean"), begun, log_time=5, records=3),
        work.descent(problem, begun, steps=5, records=3),
    ]
    assert len({id(each) for each in (path, *others)}) == 5


def test_a_run_that_one_process_makes_alone_is_made_again_by_all_together() -> None:
    """Else this process would not take part in a run for which the others wait."""
    problem = ulpm.Problem([2, 2], 3)
    work = Work(lambda said: None)
    begun = problem.random_state(seed=0)
    alone = work.alone()
    path = alone.flow(problem, begun, log_time=5, records=3)
    assert alone.flow(problem, begun, log_time=5, records=3) is path
    assert work.flow(problem, begun, log_time=5, records=3) is not path
