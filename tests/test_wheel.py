"""The wheel, installed elsewhere, runs without the checkout."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

USE = """
import pathlib, sys
import ulpm
assert pathlib.Path(ulpm.__file__).is_relative_to(sys.argv[1]), ulpm.__file__
features, labels = ulpm.fashion_mnist_sample()
problem, state = ulpm.from_features(features[:200], labels[:200])
path = ulpm.gradient_flow(problem, state, log10_time=1, records=5)
assert path.finished
"""


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
    assert {"ulpm/data/demo_network.npz", "ulpm/demo/assets/page.html", "ulpm/py.typed"} <= set(names)
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
    subprocess.run([python, "-W", "error", "-c", USE, packages], check=True, cwd=tmp_path)
    out = tmp_path / "run"
    command = "-m ulpm flow --class-counts 2,2 --feature-dim 2 --log-time 2 --records 4 --no-progress --out"
    subprocess.run([python, *command.split(), out], check=True, cwd=tmp_path, capture_output=True)
    assert (out / "trajectory.safetensors").exists()
    page = tmp_path / "demo.html"
    command = "-m ulpm demo --class-counts 2,2 --feature-dim 2 --log10-time 1 --out"
    subprocess.run([python, *command.split(), page], check=True, cwd=tmp_path, capture_output=True)
    assert page.stat().st_size > 4e6
