"""The numbers of the laboratory, run by node where it is installed, are those of the package."""

import importlib.resources
import json
import math
import shutil
import subprocess
from typing import Any

import pytest
import torch

import ulpm
from ulpm.demo.page import LABORATORY

NODE = shutil.which("node")
pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node, which runs the numerics alone, is not installed"),
    pytest.mark.usefixtures("unchecked"),
]

_RUN = """
function report(settings) {
  const run = new Run({ ...firstSettings(), ...settings });
  while (!run.work(1000));
  const last = run.frames[FRAMES - 1];
  const numbers = (y) => Array.from(y);
  return {
    failure: run.failure ?? null, counts: run.problem.counts, start: numbers(run.frames[0].y), end: numbers(last.y),
    logLoss: last.logValue, margin: last.bounds.margin, lower: last.bounds.lower, upper: last.bounds.upper,
    metrics: last.metrics, resting: run.flow.resting, implicit: run.flow.method === run.flow.implicit,
    descent: run.descentFrames.map((frame) => frame && frame.logValue),
    target: targetInView(run.settings, run.problem, run.objective, last.y, run.axes),
    marks: marksOf(run.objective, last.y, run.axes, run.shown),
  };
}
"""


def evaluate(expression: str) -> Any:
    """What the scripts of the laboratory make of an expression."""
    assets = importlib.resources.files("ulpm.demo") / "assets"
    names = [f"lab/{name}.js" for name in LABORATORY if name != "lab"]
    scripts = [assets.joinpath(*name.split("/")).read_text(encoding="utf-8") for name in ["scene.js", *names]]
    program = "\n".join(['"use strict";', *scripts, _RUN, f"console.log(JSON.stringify({expression}));"])
    assert NODE is not None
    found = subprocess.run([NODE, "-"], input=program, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def objective_value(problem: ulpm.Problem, W: torch.Tensor, H: torch.Tensor) -> torch.Tensor:
    """L + ½ Σ λ‖·‖², written from the definitions of the losses."""
    logits, labels = (W @ H).T, problem.labels
    match problem.loss:
        case ulpm.CrossEntropy(label_smoothing=alpha):
            loss = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=alpha, reduction="sum")
        case ulpm.Focal(gamma=gamma):
            log_right = logits.log_softmax(1).gather(1, labels[:, None])
            loss = -((1 - log_right.exp()) ** gamma * log_right).sum()
        case _:
            loss = 0.5 * (logits - torch.nn.functional.one_hot(labels, problem.num_classes)).square().sum()
    of_rows, of_features = problem.weight_decay
    return loss + 0.5 * (of_rows * W.square().sum() + of_features * H.square().sum())


def state_of(numbers: list[float], num_classes: int, dim: int) -> ulpm.State:
    y = torch.tensor(numbers, dtype=torch.float64, device="cpu").view(-1, dim)
    return ulpm.State(y[:num_classes].clone(), y[num_classes:].T.contiguous())


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wide": ({"K": 5, "n": 6, "d": 7}, {}),
    "narrow": ({"K": 6, "n": 4, "d": 3}, {}),
    "imbalanced": ({"K": 4, "n": 10, "d": 3, "imbalance": 5, "scale": 2.0}, {}),
    "focal": ({"K": 3, "n": 4, "d": 3, "loss": "focal", "strength": 2.0}, {"loss": ulpm.Focal(2.0)}),
    "decayed": ({"K": 4, "n": 5, "d": 4, "decayW": 0.01, "decayH": 0.01}, {"weight_decay": (0.01, 0.01)}),
    "decayed unequally": (
        {"K": 3, "n": 6, "d": 2, "imbalance": 2, "decayW": 0.1, "decayH": 1e-3},
        {"weight_decay": (0.1, 1e-3)},
    ),
    "squared and decayed": (
        {"K": 3, "n": 4, "d": 4, "loss": "squared", "decayW": 0.01, "decayH": 0.1},
        {"loss": ulpm.SquaredError(), "weight_decay": (0.01, 0.1)},
    ),
    "smoothed": ({"K": 3, "n": 4, "d": 3, "loss": "smoothed", "strength": 0.1}, {"loss": ulpm.CrossEntropy(0.1)}),
    "squared": ({"K": 3, "n": 4, "d": 4, "loss": "squared"}, {"loss": ulpm.SquaredError()}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_run_of_any_setting_ends_as_that_of_the_package(name: str) -> None:
    settings, model = SETTINGS[name]
    found = evaluate(f"report({json.dumps(settings | {'end': 10})})")
    assert found["failure"] is None
    problem = ulpm.Problem(found["counts"], settings["d"], **model)
    start = state_of(found["start"], settings["K"], settings["d"])
    path = ulpm.gradient_flow(problem, start, log10_time=10, rtol=1e-7, records=2)
    if not (problem.attained and problem.smallest_loss == 0 and not problem.decayed):
        assert found["logLoss"] == pytest.approx(float(path.log_loss[-1]), rel=1e-8, abs=1e-8)
    assert found["margin"] == pytest.approx(float(path.margin[-1]), rel=1e-6)
    for key, value in found["metrics"].items():
        assert value == pytest.approx(float(path.metrics[key][-1]), rel=1e-6, abs=1e-7), key
    if problem.has_margins and path.certificate is not None:
        assert found["lower"] == pytest.approx(float(path.certificate.lower_bound[-1]), rel=1e-6)
        assert found["upper"] == pytest.approx(float(path.certificate.nuclear_upper_bound[-1]), rel=1e-6)
    assert found["resting"] == problem.attained


def test_a_stiff_run_becomes_implicit_and_ends_as_that_of_the_package() -> None:
    # Twelve classes on a circle: the angles between neighbours make some components far faster than in a simplex.
    settings = {"K": 12, "n": 2, "d": 2, "end": 100}
    found = evaluate(f"report({json.dumps(settings)})")
    assert found["failure"] is None
    assert found["implicit"]
    problem = ulpm.Problem([2] * 12, 2)
    path = ulpm.gradient_flow(problem, state_of(found["start"], 12, 2), log10_time=100, rtol=1e-7, records=2)
    assert found["logLoss"] == pytest.approx(float(path.log_loss[-1]), rel=1e-6)
    assert found["margin"] == pytest.approx(float(path.margin[-1]), rel=1e-6)
    for key, value in found["metrics"].items():
        assert value == pytest.approx(float(path.metrics[key][-1]), rel=1e-6, abs=1e-12), key
    assert path.certificate is not None
    assert found["lower"] == pytest.approx(float(path.certificate.lower_bound[-1]), rel=1e-6)
    assert found["upper"] == pytest.approx(float(path.certificate.nuclear_upper_bound[-1]), rel=1e-6)


def test_frames_in_a_step_after_which_the_method_changes_are_read_from_that_step() -> None:
    # A frame of this run lies in the last explicit step.
    found = evaluate("""(() => {
      const run = new Run({ ...firstSettings(), K: 8, n: 1, d: 2, seed: 5 });
      const { flow } = run;
      const distance = (y, z) => norm(y.map((x, e) => x - z[e]));
      while (flow.method === flow.explicit) flow.step();
      const inside = flow.at((flow.before.logTime + flow.logTime) / 2);
      const ends = [flow.before.y, flow.now.y];
      const shares = ends.map((end) => distance(inside, end) / distance(...ends));
      return { shares, failure: report(run.settings).failure };
    })()""")
    assert found["shares"] == pytest.approx([0.5, 0.5], abs=0.1)
    assert found["failure"] is None


@pytest.mark.parametrize("name", SETTINGS)
def test_the_derivative_of_the_field_and_its_systems_are_those_of_torch(name: str) -> None:
    settings, model = SETTINGS[name]
    sigma = 50.0
    y, v, product, solution = (
        torch.tensor(part, dtype=torch.float64)
        for part in evaluate(f"""(() => {{
          const {{ objective, frames: [{{ y }}] }} = new Run({{ ...firstSettings(), ...{json.dumps(settings)} }});
          const rate = new Float64Array(y.length);
          objective.field(y, rate);
          const jacobian = objective.jacobian(y, rate);
          const v = Float64Array.from(y, normals(1));
          const product = new Float64Array(y.length);
          jacobian.times(v, product);
          if (!jacobian.factor({sigma})) throw new Error("not positive");
          return [y, v, product, jacobian.solve(v)].map((part) => Array.from(part));
        }})()""")
    )
    counts = evaluate(f"report({json.dumps(settings | {'end': 1})}).counts")
    problem = ulpm.Problem(counts, settings["d"], **model)
    K, d = settings["K"], settings["d"]

    def objective(y: torch.Tensor) -> torch.Tensor:
        total = objective_value(problem, y.view(-1, d)[:K], y.view(-1, d)[K:].T)
        return total if isinstance(problem.loss, ulpm.SquaredError) else total.log()

    J = -torch.autograd.functional.hessian(objective, y)
    assert torch.allclose(product, J @ v, rtol=1e-11, atol=1e-12 * float((J @ v).norm()))
    expected = torch.linalg.solve(sigma * torch.eye(len(y), dtype=torch.float64) - J, v)
    assert torch.allclose(solution, expected, rtol=1e-11, atol=1e-12 * float(expected.norm()))


def test_gradient_descent_is_that_of_the_package_and_ends_with_its_steps() -> None:
    found = evaluate("report({ K: 3, n: 4, d: 3, rate: 0.1, end: 30 })")
    problem = ulpm.Problem([4] * 3, 3)
    times = evaluate("Array.from({ length: FRAMES }, (_, f) => Math.exp(logTimeOfFrame(f, 30)))")
    frame = max(f for f, t in enumerate(times) if t < 50)
    path = ulpm.gradient_descent(
        problem, state_of(found["start"], 3, 3), learning_rate=0.1, steps=round(times[frame] / 0.1), records=2
    )
    assert found["descent"][frame] == pytest.approx(float(path.log_loss[-1]), rel=1e-12)
    assert found["descent"][-1] is None
    assert found["descent"][max(f for f, t in enumerate(times) if t < 1900)] is not None


def test_descent_with_too_long_steps_is_said_to_diverge() -> None:
    assert evaluate("report({ K: 3, n: 4, d: 3, rate: 3, loss: 'squared', end: 3 })")["descent"][-1] is None


@pytest.mark.parametrize(
    "settings",
    [
        {"K": 4, "n": 6, "d": 5},
        {"K": 4, "n": 20, "d": 3, "imbalance": 10},
        {"K": 4, "n": 6, "d": 5, "decayW": 0.1, "decayH": 1e-3},
    ],
)
def test_the_target_is_where_the_flow_goes(settings: dict[str, Any]) -> None:
    found = evaluate(f"report({json.dumps(settings | {'end': 1000})})")
    for name in ("rows", "means"):
        target, end = (torch.tensor(found[part][name], dtype=torch.float64) for part in ("target", "marks"))
        assert float((target - end).norm() / end.norm()) < 0.02, name


def test_random_numbers_are_normal_and_repeat() -> None:
    drawn = evaluate("[0, 1].map((seed) => Array.from({ length: 4000 }, normals(seed)))")
    assert drawn[0][:3] == evaluate("Array.from({ length: 3 }, normals(0))")
    for numbers in drawn:
        sample = torch.tensor(numbers, dtype=torch.float64)
        assert abs(float(sample.mean())) < 4 / math.sqrt(4000)
        assert abs(float(sample.var()) - 1) < 4 * math.sqrt(2 / 4000)
        assert abs(float((sample[1:] * sample[:-1]).mean())) < 4 / math.sqrt(4000)
        normal = torch.distributions.Normal(0.0, 1.0)
        ranks = torch.arange(1, 4001, dtype=torch.float64) / 4000
        assert float((normal.cdf(sample.sort().values) - ranks).abs().max()) < 1.63 / math.sqrt(4000)
    both = torch.tensor(drawn, dtype=torch.float64)
    assert abs(float((both[0] * both[1]).mean())) < 4 / math.sqrt(4000)


def test_eigenvectors_of_a_symmetric_matrix_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    A = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    A = A @ torch.diag(torch.tensor([1e3, 1.0, 1.0, 1e-2, 1e-5, 0.0], dtype=torch.float64)) @ A.T
    found = evaluate(
        f"(({{ values, vectors }}) => [values, Array.from(vectors)])(symmetricEigen({A.flatten().tolist()}, 6))"
    )
    values, vectors = (torch.tensor(part, dtype=torch.float64) for part in found)
    vectors = vectors.view(6, 6)
    assert torch.allclose(values, torch.linalg.eigvalsh(A).flip(0), rtol=1e-12, atol=1e-11 * float(A.norm()))
    assert torch.allclose(vectors @ vectors.T, torch.eye(6, dtype=torch.float64), atol=1e-13)
    assert torch.allclose(vectors.T @ torch.diag(values) @ vectors, A, atol=1e-12 * float(A.norm()))


def test_a_moved_mark_changes_what_follows_and_its_link_makes_the_same_run() -> None:
    found = evaluate("""(() => {
      const finish = (run) => { while (!run.work(1000)); return run.frames.map(({ y }) => Array.from(y.slice(0, 6))); };
      const live = new Run({ ...firstSettings(), K: 3, n: 4, d: 3, end: 10 });
      const before = finish(live);
      const first = { frame: 40, kind: "mean", k: 1, by: [0.5, -0.25] };
      const second = { frame: 80, kind: "row", k: 0, by: [-0.3, 0.1] };
      // As a hand does: here and there, and a move taken back.
      live.change([{ ...first, by: [0.1, 0] }]);
      live.work(1);
      live.change([first]);
      const atOnce = live.frames.length === 41 && live.applied === 1;
      const once = finish(live);
      live.change([first, { ...second, by: [0.2, 0.2] }]);
      live.change([first, second]);
      const twice = finish(live);
      const moved = { ...firstSettings(), K: 3, n: 4, d: 3, end: 10, moves: [first, second] };
      const linked = finish(new Run(settingsFromPairs(new URLSearchParams(settingsToPairs(moved)))));
      live.change([]);
      return { atOnce, before, once, twice, linked, back: finish(live) };
    })()""")
    assert found["atOnce"]
    before, once, twice = found["before"], found["once"], found["twice"]
    assert once[:40] == before[:40]
    assert once[41] != before[41]
    assert once[40] == before[40]  # of the rows, which the move of a mean leaves alone
    assert twice[:80] == once[:80]
    assert twice[80] != once[80]
    assert found["linked"] == twice
    assert torch.allclose(torch.tensor(found["back"]), torch.tensor(before), atol=1e-6)


def test_a_mark_can_be_moved_at_the_very_end() -> None:
    move = {"frame": 120, "kind": "row", "k": 0, "by": [0.5, 0.0]}
    ends = [
        evaluate(f"report({{ K: 3, n: 2, d: 2, end: 1, moves: {json.dumps(moves)} }}).end") for moves in ([], [move])
    ]
    assert ends[0][2:] == ends[1][2:]
    assert ends[0][:2] != ends[1][:2]


def test_a_flow_goes_on_from_a_mark_that_is_moved_into_another_class_at_any_time() -> None:
    # The loss is about 10⁴ there, at t = 10^879: t times the loss overflows.
    move = {"frame": 118, "kind": "mean", "k": 1, "by": [-3.0, 0.0]}
    found = evaluate(f"""(() => {{
      const run = new Run({{ ...firstSettings(), K: 3, n: 2, d: 2, moves: [{json.dumps(move)}] }});
      while (!run.work(1000));
      const [moved, end] = [run.frames[118], run.frames[120]];
      return {{ moved: Array.from(moved.y), logLoss: moved.logValue, end: end && [end.logValue, end.bounds.margin] }};
    }})()""")
    assert found["logLoss"] > 0
    # The time before the move is nothing beside the time after it.
    state = state_of(found["moved"], 3, 2)
    path = ulpm.gradient_flow(ulpm.Problem([2] * 3, 2), state, log10_time=1000, rtol=1e-7, records=2)
    assert found["end"] == pytest.approx([float(path.log_loss[-1]), float(path.margin[-1])], rel=1e-6)


def test_a_link_keeps_every_setting_and_mends_what_makes_no_sense() -> None:
    settings = {
        "K": 7,
        "n": 3,
        "d": 9,
        "seed": 41,
        "imbalance": 3,
        "scale": 0.7,
        "rate": 0.03,
        "loss": "focal",
        "strength": 1.5,
        "decayW": 0.001,
        "decayH": 0.1,
        "end": 30,
        "moves": [{"frame": 3, "kind": "row", "k": 6, "by": [0.1, -2, 0]}],
    }
    pairs = f"new URLSearchParams(settingsToPairs({json.dumps(settings)}, 'B.'))"
    assert evaluate(f"settingsFromPairs({pairs}, 'B.')") == settings
    # Links of version 0.2 have one decay, and so may one that was written by hand.
    for one in ("decay", "decayW", "decayH"):
        assert evaluate(f"settingsFromPairs(new URLSearchParams('{one}=0.01'))") == evaluate(
            "({ ...firstSettings(), decayW: 0.01, decayH: 0.01 })"
        )
    odd = "K=99&n=-3&d=x&seed=1.2&loss=constructor&decayW=7&decayH=0.1&end=5&moves=3_row_12_1_1_1~zz&strength=-1"
    mended = evaluate(f"settingsFromPairs(new URLSearchParams({json.dumps(odd)}))")
    assert mended == evaluate("({ ...firstSettings(), K: 12, n: 1, seed: 1 })")
