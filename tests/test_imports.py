"""Who may import whom: the layers of the architecture, read from the source text."""

import ast
from pathlib import Path

import pytest

import theory_experiments
import ulpm

PACKAGE = Path(ulpm.__file__).parent
# A part is a module or a subpackage of ulpm. It may import parts of earlier layers, and of its own layer only itself.
LAYERS = (
    {"_special_files", "_memory", "_streams", "_extras", "_blocks"},
    {"_files", "_versions", "_threads", "_modes", "_checks", "logdomain", "sample"},
    {"distributed", "losses", "state"},  # sums over samples, wherever they are taken
    {"problem"},
    {"geometry", "laws", "invariants"},
    {"objective"},
    {"metrics", "optimality"},
    {"floors", "monitor", "_display"},
    {"trajectory"},
    {"recorder"},
    {"flow", "descent", "features"},
    {"forecasting"},
    {"plotting", "summary", "starts", "demo"},
    {"runs"},
    {"cli", "support"},
)
ENTRY = {"__init__", "__main__"}  # may import everything
# Of these parts nobody but the named ones may know.
KNOWN_ONLY_TO = {"sample": {"starts", "demo", "cli"}}
# Inside flow: a step, its size, its linear solves and the tableaus know nothing but arithmetic, and of no process.
FLOW_FREE_OF_PROBLEMS = {
    "methods",
    "vectors",
    "runge_kutta",
    "rosenbrock",
    "krylov",
    "refinement",
    "controller",
    "clock",
}
PROBLEM_PARTS = {
    "distributed",
    "problem",
    "state",
    "losses",
    "objective",
    "metrics",
    "trajectory",
    "recorder",
    "flow.layout",
    "flow.system",
    "flow.loop",
    "flow.landing",
}
OUTSIDE = {
    "matplotlib": {"plotting"},
    "cvxpy": {"optimality.relaxation"},
    "plotly": {"demo.page", "cli.demo"},
    "tyro": {"cli"},
    "rich": {"cli", "flow.progress"},
    "xarray": {"trajectory", "monitor.table"},
    "pooch": set(),
    "lightning": set(),  # imported by name, when a training uses it
    "pytorch_lightning": set(),
    "transformers": {"monitor.transformers"},
    "torchmetrics": {"monitor.torchmetrics"},
    "tensorboard": set(),
    "pickle": set(),
    "dill": set(),
    "joblib": set(),
    "shelve": set(),
    "marshal": set(),
    "torchvision": set(),
    "scipy": set(),
    "theory_experiments": set(),
    "real_experiments": set(),
}


UNSAFE = {"torch.load", "torch.save"}  # both are pickle


def modules(folder=PACKAGE):
    """(dotted name below the package, source) of every file of a package."""
    for path in sorted(folder.rglob("*.py")):
        yield ".".join(path.relative_to(folder).with_suffix("").parts), path.read_text(encoding="utf-8")


def imported(name, source, root="ulpm"):
    """Absolute dotted names that a module imports; ``from a import b`` counts as a.b, which may be a module."""
    package = [root, *name.split(".")[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def layer_of(part):
    found = [i for i, parts in enumerate(LAYERS) if part in parts]
    return found[0] if found else None


def violations(name, source):
    """Sentences about what ``name`` must not import or call."""
    part = name.split(".")[0]
    if part not in ENTRY and layer_of(part) is None:
        yield f"{name} is in no layer"
        return
    for target in imported(name, source):
        root, *inside = target.split(".")
        if target in UNSAFE:
            yield f"{name} uses {target}"
        if root in OUTSIDE and not any(name == f or name.startswith(f + ".") for f in OUTSIDE[root]):
            yield f"{name} imports {root}"
        if root != "ulpm" or part in ENTRY:
            continue
        other = inside[0] if inside and layer_of(inside[0]) is not None else None
        if other is None:
            yield f"{name} imports {target}, which is the package itself or in no layer"
        elif other != part and layer_of(other) >= layer_of(part):
            yield f"{name} imports {target}, which is not below it"
        if other in KNOWN_ONLY_TO and part not in KNOWN_ONLY_TO[other]:
            yield f"{name} imports {target}"
        if part == "flow" and name.split(".")[-1] in FLOW_FREE_OF_PROBLEMS:
            for known in PROBLEM_PARTS:
                if ".".join(inside).startswith(known):
                    yield f"{name} imports {target}, though steps know no problem and no process"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            if called in UNSAFE:
                yield f"{name} uses {called}"


MODULES = dict(modules())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_only_what_lies_below_it(name):
    assert list(violations(name, MODULES[name])) == []


def test_the_package_was_read():
    assert {"__init__", "objective", "problem", "flow.loop", "flow.__init__", "metrics.collapse"} <= set(MODULES)
    assert "ulpm.problem.Problem" in set(imported("objective", MODULES["objective"]))


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("problem", "from ulpm.objective import Objective", "not below it"),
        ("objective", "import ulpm.flow.run", "not below it"),
        ("flow.run", "from ulpm.descent import gradient_descent", "not below it"),
        ("descent", "def f():\n    from ulpm.flow import clock", "not below it"),
        ("_files", "from ulpm import _checks", "not below it"),
        ("metrics.probe", "from ..trajectory import Trajectory", "not below it"),
        ("metrics.probe", "from .. import flow", "not below it"),
        ("objective", "import ulpm", "the package itself"),
        ("objective", "from ulpm import State", "the package itself"),
        ("trajectory", "from ulpm.unheard_of import x", "in no layer"),
        ("unheard_of", "", "in no layer"),
        ("problem", "from ulpm.sample import fashion_mnist_sample", "imports ulpm.sample"),
        ("summary", "from ulpm.runs import RunDirectory", "not below it"),
        ("flow.runge_kutta", "from ulpm.problem import Problem", "know no problem"),
        ("flow.controller", "from ulpm.flow.system import FlowSystem", "know no problem"),
        ("flow.krylov", "from ulpm.distributed import Shard", "no process"),
        ("flow.clock", "from .loop import FlowLoop", "know no problem"),
        ("trajectory", "import matplotlib.pyplot as plt", "matplotlib"),
        ("flow.run", "def f():\n    from matplotlib import pyplot", "matplotlib"),
        ("optimality.kkt", "import cvxpy", "cvxpy"),
        ("demo.view", "import plotly", "plotly"),
        ("monitor.monitor", "def f():\n    import transformers", "transformers"),
        ("_files", "import pickle", "pickle"),
        ("__init__", "import pickle", "pickle"),
        ("_files", "import torch\ntorch.load('x')", "torch.load"),
        ("_files", "import torch\nread = torch.load", "torch.load"),
        ("_files", "from torch import load", "torch.load"),
        ("_files", "from torch import save as keep", "torch.save"),
        ("cli", "import theory_experiments", "theory_experiments"),
    ],
)
def test_the_reader_of_imports_complains_about_a_wrong_one(name, source, complaint):
    found = list(violations(name, source))
    assert found
    assert any(complaint in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("objective", "import torch\nfrom ulpm.problem import Problem"),
        ("flow.loop", "from ulpm.flow.controller import StepSizeController\nfrom ulpm.recorder import Recorder"),
        ("flow.loop", "from . import clock\nfrom ..objective import Objective"),
        ("plotting", "import matplotlib.pyplot as plt\nfrom ulpm.trajectory import Trajectory"),
        ("optimality.relaxation", "import cvxpy"),
        ("cli", "from ulpm import sample, flow, plotting"),
        ("__init__", "from ulpm.flow import gradient_flow"),
        ("_files", "import safetensors.torch\nsafetensors.torch.load"),
    ],
)
def test_the_reader_of_imports_does_not_complain_about_a_right_one(name, source):
    assert list(violations(name, source)) == []


# The experiments: a claim and the work it is made with, numerics, theorems, and what runs and reports all of them.
EXPERIMENT_LAYERS = (
    ("harness.claim", "harness.work"),
    ("numerics",),
    ("theorems",),
    ("harness", "command", "__main__"),
)
EXPERIMENT_MODULES = dict(modules(Path(theory_experiments.__file__).parent))


def experiment_layer(name):
    """The layer of a dotted name below theory_experiments; nothing for the package itself."""
    found = [i for i, parts in enumerate(EXPERIMENT_LAYERS) if any(f"{name}.".startswith(f"{p}.") for p in parts)]
    return min(found) if found else None


def experiment_violations(name, source):
    """Sentences about what a module of the experiments must not import."""
    own = experiment_layer(name)
    for target in imported(name, source, "theory_experiments"):
        root, _, inside = target.partition(".")
        if root != "theory_experiments":
            continue
        layer = experiment_layer(inside)
        if layer is None or own is None:
            if name != "__init__":
                yield f"{name} imports {target}, of which one is in no layer"
        elif layer > own:
            yield f"{name} imports {target}, which is not below it"
        elif own == layer == experiment_layer("theorems") and name.split(".")[1] != inside.split(".")[1]:
            yield f"{name} imports {target}, which is another experiment"


@pytest.mark.parametrize("name", EXPERIMENT_MODULES)
def test_an_experiment_imports_only_what_lies_below_it(name):
    assert list(experiment_violations(name, EXPERIMENT_MODULES[name])) == []


def test_the_experiments_were_read():
    assert {"harness.runner", "numerics.rays", "theorems.rates.__init__"} <= set(EXPERIMENT_MODULES)
    assert None not in {experiment_layer(name) for name in EXPERIMENT_MODULES if name != "__init__"}


@pytest.mark.parametrize(
    ("name", "source", "complaint"),
    [
        ("numerics.rays", "from theory_experiments.theorems.rates import check", "not below it"),
        ("numerics.rays", "from theory_experiments.theorems import rates", "not below it"),
        ("numerics.rays", "from ..harness import report", "not below it"),
        ("theorems.rates.claims", "from theory_experiments.harness.runner import run", "not below it"),
        ("theorems.rates.claims", "from theory_experiments.theorems.escape.config import QUICK", "another experiment"),
        ("theorems.rates.claims", "from theory_experiments.theorems import escape", "another experiment"),
        ("theorems.rates.claims", "from ..escape import config", "another experiment"),
        ("theorems.rates.__init__", "from ..escape import config", "another experiment"),
        ("harness.claim", "from theory_experiments.numerics.rays import tail", "not below it"),
        ("harness.runner", "from theory_experiments.unheard_of import x", "in no layer"),
    ],
)
def test_the_reader_of_experiments_complains_about_a_wrong_import(name, source, complaint):
    found = list(experiment_violations(name, source))
    assert any(complaint in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("numerics.decayed_ends", "from theory_experiments.harness.claim import Claim"),
        ("numerics.seli", "from theory_experiments.numerics import rays"),
        ("theorems.rates.claims", "from theory_experiments.theorems.rates.config import Config"),
        ("theorems.rates.__init__", "from theory_experiments.harness.work import Work"),
        ("harness.experiments", "from theory_experiments.theorems import rates, escape"),
        ("command", "from theory_experiments.harness.runner import run"),
        ("__main__", "from theory_experiments.command import main"),
    ],
)
def test_the_reader_of_experiments_does_not_complain_about_a_right_import(name, source):
    assert list(experiment_violations(name, source)) == []
