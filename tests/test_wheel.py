"""The wheel, installed elsewhere, runs without the checkout."""

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from ulpm._extras import EXTRAS, needs

ROOT = Path(__file__).parent.parent

USE = """
import pathlib, sys
import ulpm
assert pathlib.Path(ulpm.__file__).is_relative_to(sys.argv[1]), ulpm.__file__
features, labels = ulpm.fashion_mnist_sample()
problem, state = ulpm.from_features(features[:200], labels[:200])
path = ulpm.gradient_flow(problem, state, log10_time=1, records=5)
assert path.finished
assert ulpm.__version__ == sys.argv[2], ulpm.__version__
"""

# Without the packages of the extras: what works, and what each of the others says.
BARE = """
import contextlib, importlib.abc, io, sys

missing = sys.argv[1].split(",")

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import torch
import ulpm

images, labels = ulpm.fashion_mnist_sample()
model = torch.nn.Sequential(torch.nn.Linear(784, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10))
assert ulpm.measure(model, [(images.float(), labels)])["nc1_pinv"] > 0
problem = ulpm.Problem([4, 2, 2], feature_dim=3)
state = problem.random_state(seed=0)
path = ulpm.gradient_flow(problem, state, log10_time=3, records=4)
assert path.finished and path.certificate is not None

def flow_with_a_bar():
    ulpm.gradient_flow(problem, state, log10_time=1, progress=True)

def figure():
    import ulpm.plotting

for call in (lambda: ulpm.minimum_norm_separation(problem), flow_with_a_bar, figure, path.to_xarray):
    try:
        call()
    except ImportError as error:
        print(error)

from ulpm.__main__ import main

with contextlib.redirect_stderr(io.StringIO()) as said:
    sys.argv = ["ulpm", "flow"]
    assert main() == 1
print(said.getvalue().removeprefix("ulpm: "), end="")
"""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # The build backend is part of the development environment, so that no download is needed.
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (file,) = folder.glob("*.whl")
    return file


def test_the_wheel_holds_the_package_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "ulpm/data/fashion_mnist_sample.npz" in names
    assert {
        "ulpm/data/demo_network.npz",
        "ulpm/demo/assets/page.html",
        "ulpm/demo/assets/lab/flow.js",
        "ulpm/py.typed",
    } <= set(names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"ulpm"}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    # A bare environment with this wheel alone; the libraries it needs are those of the environment that runs the tests.
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = environment / "lib" / version / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    libraries = Path(sys.prefix) / "lib" / version / "site-packages"
    # A plain path, not a .pth chain: an editable install of the checkout there must not be seen.
    (packages / "libraries.pth").write_text(f"{libraries}\n")
    subprocess.run([python, "-W", "error", "-c", USE, packages, PROJECT["version"]], check=True, cwd=tmp_path)
    out = tmp_path / "run"
    command = "-m ulpm flow --class-counts 2,2 --feature-dim 2 --log-time 2 --records 4 --no-progress --out"
    subprocess.run([python, *command.split(), out], check=True, cwd=tmp_path, capture_output=True)
    assert (out / "trajectory.safetensors").exists()
    page = tmp_path / "demo.html"
    command = "-m ulpm demo --class-counts 2,2 --feature-dim 2 --log10-time 1 --out"
    subprocess.run([python, *command.split(), page], check=True, cwd=tmp_path, capture_output=True)
    assert page.stat().st_size > 4e6


def test_without_extras_the_library_works_and_one_sentence_names_the_extra_that_is_missing() -> None:
    missing = ",".join([*EXTRAS, "pooch", "scipy"])
    done = subprocess.run([sys.executable, "-W", "error", "-c", BARE, missing], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    sentences = done.stdout.splitlines()
    assert [re.findall(r"needs the package (\w+): pip install 'ulpm\[(\w+)\]'\.$", s) for s in sentences] == [
        [("cvxpy", "optimality")],
        [("rich", "cli")],
        [("matplotlib", "plotting")],
        [("xarray", "xarray")],
        [("tyro", "cli")],
    ], done.stdout


def test_each_extra_that_a_sentence_names_installs_the_package() -> None:
    extras = PROJECT["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert package in [re.match(r"[\w-]+", entry)[0] for entry in extras[extra]], package
        assert package not in [re.match(r"[\w-]+", entry)[0] for entry in PROJECT["dependencies"]]


def test_only_a_missing_package_of_an_extra_becomes_that_sentence() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"), needs("this test"):
        import no_such_package  # noqa: F401


def test_every_file_names_the_same_version() -> None:
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"Version {version}}}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"\n## {version} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_page_of_an_index_has_no_link_into_the_repository(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
    page = archive.read(name).decode().partition("\n\n")[2]
    links = re.findall(r"\]\(([^)\s]+)\)", page)
    assert [link for link in links if not link.startswith("http")] == []
    assert "pip install" in page
    assert "docs/numerics.md" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "Four classes in three dimensions" not in page
