"""A loss and a metric are one new file and one line each: shown on a copy of the package."""

from pathlib import Path

import pytest
from package_copy import changed, runs

import ulpm

PACKAGE = Path(ulpm.__file__).parent

LOSS = '''
import dataclasses

import torch

from ulpm.losses.base import LogOddsLoss


@dataclasses.dataclass(frozen=True)
class Exponential(LogOddsLoss):
    """Σ_i Σ_{j≠y_i} exp(Z_ji − Z_{y_i,i})."""

    name = "exponential"
    tail = 1.0

    def profile(self, x):
        return x, torch.ones_like(x), torch.zeros_like(x)
'''
METRIC = """
from ulpm.metrics.metric import Metric

COHERENCE = Metric("nc2_coherence", r"$\\max\\,\\cos(w_j,w_k)$", lambda f: _coherence(f.directions[1]))


def _coherence(directions):
    gram = directions.mT @ directions
    return (gram - 2 * gram.new_ones(gram.shape[-1]).diag()).amax((-2, -1)) + 1
"""

USES_LOSS = """
from ulpm.losses import LOSSES
problem = ulpm.Problem([3, 3, 3], 4, loss=LOSSES["exponential"]())
path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=1000, records=9, snapshots=3)
assert path.finished
log_t = float(path.log_time[-1])
assert abs(math.exp(float(path.log_loss[-1]) + log_t) * log_t / (problem.minimum_norm_value / 2) - 1) < 0.01
assert float(path.certificate.gap[-1]) < 1e-3
assert float(path.invariant_drift["classifier_sum"].max()) < 1e-12
path.save("run.safetensors")
assert ulpm.Trajectory.load("run.safetensors").problem == problem
W, H = (part.clone().requires_grad_() for part in (problem.random_state(seed=0).W, problem.random_state(seed=0).H))
Z = W @ H
gaps = (Z - Z.gather(0, problem.labels[None])).scatter(0, problem.labels[None], -torch.inf)
slopes = torch.autograd.grad(gaps.exp().sum().log(), (W, H))
for got, want in zip(torch.autograd.grad(ulpm.log_loss(problem, ulpm.State(W, H)), (W, H)), slopes):
    assert torch.allclose(got, want, rtol=1e-12)
decayed = ulpm.Problem([3, 3, 3], 4, loss=LOSSES["exponential"](), weight_decay=(1e-2, 1e-2), bias=True)
assert ulpm.gradient_flow(decayed, decayed.random_state(), log10_time=50, records=5).status.name == "CONVERGED"
"""
USES_METRIC = """
from ulpm import plotting
from ulpm.summary import markdown_table
problem = ulpm.Problem([3, 3, 3], 4)
path = ulpm.gradient_flow(problem, problem.random_state(seed=0), log10_time=1000, records=30)
found, end = float(path.metrics["nc2_coherence"][-1]), path.final_state
assert abs(found - 0.5) < 0.1
assert float(ulpm.neural_collapse(end.W, end.H, problem.labels)["nc2_coherence"]) == found
moments = ulpm.ClassMoments(3, 4)
moments.update(end.H.T, problem.labels)
assert "nc2_coherence" in ulpm.neural_collapse_from_moments(moments, end.W)
net = torch.nn.Linear(4, 3, bias=False).double()
assert "nc2_coherence" in ulpm.measure(net, [(end.H.T, problem.labels)])
assert "nc2_coherence" in path.floors
assert "`nc2_coherence`" in markdown_table({"run": path})
titles = [axes.get_title() for axes in plotting.plot_metrics(path).axes]
assert "nc2_coherence" in titles
path.to_csv("run.csv")
assert "nc2_coherence" in open("run.csv").readline()
"""


@pytest.mark.parametrize(
    ("files", "lines", "code"),
    [
        pytest.param(
            {"losses/exponential.py": LOSS},
            {
                "losses/__init__.py": (
                    "LOSSES: dict[str, type[LogitLoss]] = {\n",
                    '    "exponential": __import__("ulpm.losses.exponential", fromlist=["x"]).Exponential,\n',
                )
            },
            USES_LOSS,
            id="loss",
        ),
        pytest.param(
            {"metrics/coherence.py": METRIC},
            {
                "metrics/records.py": (
                    "RECORDS: tuple[Metric, ...] = (\n",
                    '    __import__("ulpm.metrics.coherence", fromlist=["x"]).COHERENCE,\n',
                )
            },
            USES_METRIC,
            id="metric",
        ),
    ],
)
def test_it_takes_one_file_and_one_line(tmp_path, files, lines, code):
    runs(changed(PACKAGE, tmp_path, files, lines), code)


def test_the_copy_without_them_does_not_know_them(tmp_path):
    copy = changed(PACKAGE, tmp_path, {}, {})
    runs(copy, "assert 'exponential' not in ulpm.losses.LOSSES and 'nc2_coherence' not in ulpm.metrics.METRICS")
