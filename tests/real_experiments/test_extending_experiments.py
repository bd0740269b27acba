"""A network and a data set are one new file and one line each: shown on a copy of the package."""

import csv
import subprocess
from pathlib import Path

import numpy as np
import pytest
from package_copy import changed, run
from tiny_files import idx, md5, write

import real_experiments

PACKAGE = Path(real_experiments.__file__).parent

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
FIGURE = """
from types import SimpleNamespace
from real_experiments.paper_figure import PANELS, plot_paper_figure
from real_experiments.recipe import Recipe
rows = [{"epoch": e, **{m: 1 / e for ms in PANELS.values() for m in ms}} for e in (1, 2, 3)]
recipe = Recipe(model="small", dataset="cifar10")
figure = plot_paper_figure([SimpleNamespace(recipe=recipe, rows=rows, first_without_error=2)])
print(figure.get_suptitle(), figure.axes[0].get_ylabel(), sep="; ")
"""


def experiments(folder: Path, *commands: tuple[str, int], code: str = "") -> subprocess.CompletedProcess[str]:
    """Commands and the status that each must have, then ``code``, all in one process: torch takes seconds to import.

    The table of the run after each command is in NUMBER.csv.
    """
    program = f"""
import pathlib, shutil
from real_experiments.__main__ import main
for number, (command, status) in enumerate({commands}):
    try:
        found = main(command.split())
    except SystemExit as end:
        found = end.code
    assert found == status, (command, found)
    if pathlib.Path("run/metrics.csv").exists():
        shutil.copy("run/metrics.csv", f"{{number}}.csv")
{code}"""
    done = run(folder, "-c", program)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def table(folder: Path, number: int) -> list[dict[str, str]]:
    """That of the run after the command with this number."""
    with (folder / f"{number}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def with_network(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The experiments with one more network, where some of their commands have run, and what these printed."""
    folder = tmp_path_factory.mktemp("network")
    line = {"models/__init__.py": ("_FILES = (\n", '    "small",\n')}
    changed(PACKAGE, folder, {"models/small.py": NETWORK}, line)
    train = "train --model small --width 4 --dataset fashion-mnist-sample --class-counts 6,6,6 --no-progress"
    train += " --batch-size 4 --learning-rate 0.1 --out run"
    done = experiments(
        folder,
        (f"{train} --epochs 1", 0),
        ("train --help", 0),
        (f"{train} --epochs 20 --resume", 0),
        ("measure run", 0),
        ("compare run --out compared --no-progress", 0),
        code=FIGURE,
    )
    return folder, done.stdout


def test_a_network_takes_one_file_and_one_line(with_network):
    folder, said = with_network
    (first,) = table(folder, 0)
    assert 0 < float(first["train_loss"]) < 3
    assert "--model {small,resnet18,vgg13}" in said
    assert "nc1_pinv" in said
    last = table(folder, 4)[-1]
    assert (last["epoch"], float(last["train_error"])) == ("20", 0)
    # The law of Σ_k w_k holds whatever the network: float32 rounds at 6e-8 a step, and there were 100.
    assert float(last["nc0_law_error"]) < 1e-5
    page = (folder / "compared" / "comparison.md").read_text(encoding="utf-8")
    assert page.startswith("# small (width 4) on fashion-mnist-sample, 6,6,6 images")


def test_figures_call_a_network_by_the_title_in_its_file(with_network):
    _, said = with_network
    assert "Neural collapse of Small network (width 64)" in said
    assert said.endswith("; CIFAR-10\n")


def bars(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Noise, with a light column at the left, in the middle or at the right: bytes [12, C, H, W] and labels [12]."""
    labels = np.arange(12, dtype=np.uint8) % 3
    pixels = np.random.default_rng(0).integers(0, 50, (12, *shape), dtype=np.uint8)
    for image, k in zip(pixels, labels, strict=True):
        image[:, :, [2, shape[2] // 2, shape[2] - 3][k]] = 250
    return pixels, labels


@pytest.mark.parametrize(
    ("reader", "shape"),
    [("read_idx", (1, 28, 28)), pytest.param("read_records", (3, 16, 20), marks=pytest.mark.slow)],
)
def test_a_data_set_takes_one_file_and_one_line(tmp_path, reader, shape):
    pixels, labels = bars(shape)
    if reader == "read_idx":
        files = {"images": idx(pixels[:, 0]), "labels": idx(labels)}
    else:
        files = {"records.bin": b"".join(bytes([k]) + x.tobytes() for k, x in zip(labels, pixels, strict=True))}
    sums = {name: md5(content) for name, content in files.items()}
    text = DATASET.format(reader=reader, shape=shape, contents=sums)
    line = {"datasets/__init__.py": ("_FILES = (\n", '    "bars",\n')}
    changed(PACKAGE, tmp_path, {"datasets/bars.py": text}, line)
    first = next(iter(files))
    write(tmp_path / "data", files)
    write(tmp_path / "damaged", {**files, first: files[first][:-1] + bytes([files[first][-1] ^ 1])})
    train = "train --model vgg13 --width 2 --dataset bars --batch-size 6 --epochs 1 --no-progress"
    done = experiments(
        tmp_path,
        (f"{train} --data data --subset 9 --test-images 3 --out run", 0),
        ("train --help", 0),
        ("measure run", 0),
        (f"{train} --data damaged --out other", 1),
    )
    (row,) = table(tmp_path, 0)
    assert 0 < float(row["train_loss"]) < 10
    assert "test_error" in row
    assert "--dataset {bars,mnist," in done.stdout
    assert f"real_experiments: damaged/{first} is not the published {first} (the MD5 of" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_copied_file_that_kept_its_name_is_refused(tmp_path):
    line = {"models/__init__.py": ("_FILES = (\n", '    "small",\n')}
    copied = NETWORK.replace('Network("small"', 'Network("vgg13"')
    changed(PACKAGE, tmp_path, {"models/small.py": copied}, line)
    done = run(tmp_path, "-c", "import real_experiments.models")
    assert "two records have the name 'vgg13'" in done.stderr


def test_experiments_without_them_do_not_know_them(tmp_path):
    changed(PACKAGE, tmp_path, {}, {})
    done = experiments(tmp_path, *((f"train {option} --out run", 2) for option in ("--model small", "--dataset bars")))
    assert done.stderr.count("invalid choice") == 2
