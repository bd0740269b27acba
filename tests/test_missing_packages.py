"""What the experiments say in a checkout where the packages that they need are not installed."""

import subprocess
import sys

import pytest

# None in place of a module makes its import raise ModuleNotFoundError.
WITHOUT = "import sys; sys.modules[{missing!r}] = None; from {experiments}.__main__ import main; sys.exit(main([]))"


def run_without(missing: str, experiments: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(missing=missing, experiments=experiments)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


@pytest.mark.parametrize("experiments", ["real_experiments", "theory_experiments"])
def test_a_missing_package_is_one_sentence_that_says_how_to_install_it(experiments: str) -> None:
    done = run_without("tyro", experiments)
    way = "in the checkout, pip install -e '.[experiments]'."
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{experiments}: the package tyro is missing: {way}\n"


@pytest.mark.parametrize(
    "missing",
    [
        "real_experiments.command",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ulpm.support", "tyro.conf")),
    ],
)
def test_a_missing_part_of_a_package_that_is_there_is_not_said_to_be_a_missing_package(missing: str) -> None:
    done = run_without(missing, "real_experiments")
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr
