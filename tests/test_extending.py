"""A loss, a metric, a network and a data set are one new file and one line each: shown on a copy of the package."""

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import real_experiments
import ulpm

PACKAGE = Path(ulpm.__file__).parent
EXPERIMENTS = Path(real_experiments.__file__).parent

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


NETWORK = """
from torch import nn

from real_experiments.models.network import Network


class Small(nn.Module):
    def __init__(self, num_classes, channels, width, bias):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, width, 5, stride=3), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
        self.classifier = nn.Linear(16 * width, num_classes, bias=bias)

    def forward(self, images):
        return self.classifier(self.body(images).flatten(1))


NETWORK = Network("small", "Small network", Small)
"""
DATASET = """
from real_experiments.datasets.formats import {reader}
from real_experiments.datasets.published import Files, PublishedImages

DATASET = PublishedImages(
    name="bars",
    title="Bars",
    classes=("left", "middle", "right"),
    shape={shape},
    read={reader},
    files={{"train": Files({contents})}},
)
"""


def changed(folder: Path, files: dict[str, str], lines: dict[str, tuple[str, str]], package: Path = PACKAGE) -> Path:
    """A copy of the package with new files, and one line more in an old one: after the first text comes the second."""
    copy = folder / package.name
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__", "results"))
    for name, text in files.items():
        assert not (copy / name).exists()
        (copy / name).write_text(text, encoding="utf-8")
    for name, (before, line) in lines.items():
        text = (copy / name).read_text(encoding="utf-8")
        assert text.count(before) == line.count("\n") == 1
        (copy / name).write_text(text.replace(before, before + line), encoding="utf-8")
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A Python that sees the copy first."""
    path = os.pathsep.join([str(folder), str(PACKAGE.parent)])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def runs(folder: Path, code: str) -> None:
    done = run(folder, "-c", "import math, torch, ulpm\n" + code)
    assert done.returncode == 0, done.stderr[-2000:]


def experiment(folder: Path, command: str) -> None:
    done = run(folder, "-m", "real_experiments", *command.split())
    assert done.returncode == 0, done.stderr[-2000:]


def experiments(folder: Path, *commands: tuple[str, int]) -> subprocess.CompletedProcess[str]:
    """Commands and the status that each must have, all in one process, since torch takes seconds to import."""
    code = f"""
from real_experiments.__main__ import main
for command, status in {commands}:
    try:
        found = main(command.split())
    except SystemExit as end:
        found = end.code
    assert found == status, (command, found)
"""
    done = run(folder, "-c", code)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "run" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


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
    runs(changed(tmp_path, files, lines), code)


def test_the_copy_without_them_does_not_know_them(tmp_path):
    copy = changed(tmp_path, {}, {})
    runs(copy, "assert 'exponential' not in ulpm.losses.LOSSES and 'nc2_coherence' not in ulpm.metrics.METRICS")


@pytest.fixture(scope="module")
def with_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiments with one more network."""
    folder = tmp_path_factory.mktemp("network")
    line = {"models/__init__.py": ("_FILES = (\n", '    "small",\n')}
    return changed(folder, {"models/small.py": NETWORK}, line, EXPERIMENTS)


def test_a_network_takes_one_file_and_one_line(with_network):
    train = "train --model small --width 4 --dataset fashion-mnist-sample --class-counts 6,6,6 --no-progress"
    train += " --batch-size 4 --learning-rate 0.1 --out run"
    experiment(with_network, f"{train} --epochs 1")
    (first,) = table(with_network)
    assert 0 < float(first["train_loss"]) < 3
    done = experiments(
        with_network,
        ("train --help", 0),
        (f"{train} --epochs 20 --resume", 0),
        ("measure run", 0),
        ("compare run --out compared --no-progress", 0),
    )
    assert "--model {small,resnet18,vgg13}" in done.stdout
    assert "nc1_pinv" in done.stdout
    last = table(with_network)[-1]
    assert (last["epoch"], float(last["train_error"])) == ("20", 0)
    # The law of Σ_k w_k holds whatever the network: float32 rounds at 6e-8 a step, and there were 100.
    assert float(last["nc0_law_error"]) < 1e-5
    page = (with_network / "compared" / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# small (width 4) on fashion-mnist-sample, 6,6,6 images")


def test_figures_call_a_network_by_the_title_in_its_file(with_network):
    runs(
        with_network,
        """
from types import SimpleNamespace
from real_experiments.paper_figure import PANELS, plot_paper_figure
from real_experiments.recipe import Recipe
rows = [{"epoch": e, **{m: 1 / e for ms in PANELS.values() for m in ms}} for e in (1, 2, 3)]
recipe = Recipe(model="small", dataset="cifar10")
figure = plot_paper_figure([SimpleNamespace(recipe=recipe, rows=rows, first_without_error=2)])
assert "Neural collapse of Small network (width 64)" in figure.get_suptitle()
assert figure.axes[0].get_ylabel() == "CIFAR-10"
""",
    )


def bars(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Noise, with a light column at the left, in the middle or at the right: bytes [12, C, H, W] and labels [12]."""
    labels = np.arange(12, dtype=np.uint8) % 3
    pixels = np.random.default_rng(0).integers(0, 50, (12, *shape), dtype=np.uint8)
    for image, k in zip(pixels, labels, strict=True):
        image[:, :, [2, shape[2] // 2, shape[2] - 3][k]] = 250
    return pixels, labels


def idx(array: np.ndarray) -> bytes:
    """Bytes 0, 0, 8 (unsigned byte) and the number of axes, the lengths as big-endian integers, the entries."""
    return bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.mark.parametrize(("reader", "shape"), [("read_idx", (1, 28, 28)), ("read_records", (3, 16, 20))])
def test_a_data_set_takes_one_file_and_one_line(tmp_path, reader, shape):
    pixels, labels = bars(shape)
    if reader == "read_idx":
        files = {"images": idx(pixels[:, 0]), "labels": idx(labels)}
    else:
        files = {"records.bin": b"".join(bytes([k]) + x.tobytes() for k, x in zip(labels, pixels, strict=True))}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    text = DATASET.format(reader=reader, shape=shape, contents=sums)
    line = {"datasets/__init__.py": ("_FILES = (\n", '    "bars",\n')}
    changed(tmp_path, {"datasets/bars.py": text}, line, EXPERIMENTS)
    first = next(iter(files))
    damaged = {**files, first: files[first][:-1] + bytes([files[first][-1] ^ 1])}
    for folder, written in (("data", files), ("damaged", damaged)):
        (tmp_path / folder).mkdir()
        for name, content in written.items():
            (tmp_path / folder / name).write_bytes(content)
    train = "train --model vgg13 --width 2 --dataset bars --batch-size 6 --epochs 1 --no-progress"
    experiment(tmp_path, f"{train} --data data --subset 9 --test-images 3 --out run")
    (row,) = table(tmp_path)
    assert 0 < float(row["train_loss"]) < 10
    assert "test_error" in row
    refused = f"{train} --data damaged --out other"
    done = experiments(tmp_path, ("train --help", 0), ("measure run", 0), (refused, 1))
    assert "--dataset {bars,mnist," in done.stdout
    assert f"real_experiments: damaged/{first} is not the published {first} (the MD5 of" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_copied_file_that_kept_its_name_is_refused(tmp_path):
    line = {"models/__init__.py": ("_FILES = (\n", '    "small",\n')}
    copied = NETWORK.replace('Network("small"', 'Network("vgg13"')
    changed(tmp_path, {"models/small.py": copied}, line, EXPERIMENTS)
    done = run(tmp_path, "-c", "import real_experiments.models")
    assert "two records have the name 'vgg13'" in done.stderr


def test_experiments_without_them_do_not_know_them(tmp_path):
    changed(tmp_path, {}, {}, EXPERIMENTS)
    done = experiments(tmp_path, *((f"train {option} --out run", 2) for option in ("--model small", "--dataset bars")))
    assert done.stderr.count("invalid choice") == 2
