"""Compare a trained network with the model: the same metrics on common clocks, and a summary in words."""

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro
from rich.console import Console
from rich.markdown import Markdown

from real_experiments.comparison.analysis import analyse, finite
from real_experiments.comparison.conservation import plot_conservation
from real_experiments.comparison.curves import CLOCKS, Clock
from real_experiments.comparison.figure import plot_comparison
from real_experiments.comparison.mobility import mobility_history
from real_experiments.comparison.network_run import NetworkRun
from real_experiments.comparison.page import comparison_page
from real_experiments.comparison.pairing import Comparison, compare_with_model
from real_experiments.comparison.words import verdict
from real_experiments.table import checksum
from ulpm.plotting import save_figure
from ulpm.support import checks, files, versions

__all__ = ["FIGURES", "Compare", "write_comparison", "write_numbers"]

FIGURES: dict[Clock, str] = {"train_loss": "comparison.png", "flow_time": "comparison-flow-time.png"}
CONSERVATION = "conservation.png"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compare:
    """Compare a training run with the flow of the model, from its own (W, H) at zero training error and from a random
    start.

    The model has the network's loss, bias and weight decay. The command writes comparison.md with a summary, slopes,
    forecast errors and the epochs where both diverge; with weight decay it also has the end states. It writes
    comparison.json with all numbers, a figure for each clock (mean training loss and flow time), and a figure of
    Σ_k w_k, which gradient descent without weight decay conserves. It keeps the flows and does not compute them again.
    """

    run_directory: Annotated[Path, tyro.conf.Positional]
    """The --out of `train`."""
    out: Path
    """Directory for the results."""
    control: Path | None = None
    """Another run to draw in the same figures, such as one with weight decay."""
    snapshot: int | None = None
    """Epoch of the snapshot to start the flows from, if not the first one at zero training error."""
    flows: Path | None = None
    """Directory to keep the flows in; flows/ in --out by default."""
    seed: int = 0
    """Seed of the random start."""
    rtol: float = 1e-6
    """Relative tolerance of each step of the flows."""
    device: str = "cpu"
    """Where to compute the flows: cpu, cuda or cuda:1."""
    progress: bool = True
    """Show progress."""
    json: Path | None = None
    """Write the numbers here in JSON, as well as into comparison.json."""

    def run(self) -> int:
        comparison = self.compare()
        paragraphs = write_comparison(comparison, self.out, self.command(), self.json)
        console = Console(soft_wrap=True, highlight=False)
        text = "\n\n".join(paragraphs)
        # Piped on, the Markdown itself is of more use than a picture of it.
        console.print(Markdown(text) if console.is_terminal else text, markup=False)
        console.print(f"\nResults are in {self.out}: comparison.md, comparison.json and figures", markup=False)
        return 0

    def compare(self) -> Comparison:
        """Follow the flows. Raises: ValueError or OSError with one sentence; nothing has then been written."""
        device = checks.device(self.device)
        checks.real("--rtol", self.rtol, above=0, below=1)
        run = NetworkRun.read(self.run_directory)
        control = None if self.control is None else NetworkRun.read(self.control)
        keep = self.flows or self.out / "flows"
        return compare_with_model(run, control, self.snapshot, self.seed, self.rtol, device, keep, self.progress)

    def command(self) -> str:
        """The command that makes the same again."""
        words = ["python", "-m", "real_experiments", "compare", str(self.run_directory), "--out", str(self.out)]
        for name in ("control", "snapshot", "seed", "rtol"):
            value, default = getattr(self, name), getattr(Compare, name)
            if value != default:
                words += [f"--{name}", str(value)]
        return shlex.join(words)


def write_comparison(
    comparison: Comparison,
    out: Path,
    command: str,
    json_file: Path | None = None,
    clocks: Sequence[Clock] = CLOCKS,
) -> Sequence[str]:
    """Write page, numbers and figures into ``out``, a figure for each of ``clocks`` that the network has.

    Returns: the paragraphs of the summary. Raises: OSError if something cannot be written.
    """
    analysis = analyse(comparison)
    figures = {clock: FIGURES[clock] for clock in clocks if clock in comparison.clocks}
    for clock, name in figures.items():
        save_figure(plot_comparison(comparison, clock), out / name, "png")
    save_figure(plot_conservation(comparison), out / CONSERVATION, "png")
    files.write_text(
        out / "comparison.md", comparison_page(comparison, analysis, command, list(figures.values()), CONSERVATION)
    )
    # The numbers come last: where they are, everything else is.
    write_numbers(comparison, out, command, json_file)
    return verdict(comparison, analysis)


def write_numbers(comparison: Comparison, out: Path, command: str, json_file: Path | None = None) -> None:
    """Write comparison.json into ``out``. Raises: OSError if that is not possible."""
    result = {
        "command": command,
        "metrics_checksum": checksum(comparison.run.rows),
        "recipe": comparison.run.recipe.to_json() | {"data": None},
        "class_counts": list(comparison.problem.class_counts),
        "feature_dim": comparison.problem.feature_dim,
        "control_weight_decay": 0.0 if comparison.control is None else comparison.control.recipe.weight_decay,
        "snapshot": comparison.snapshot,
        "mobility": comparison.mobility,
        "model_means": comparison.model_means,
        "mobility_history": [dataclasses.asdict(each) for each in mobility_history(comparison.run)],
        "versions": versions(),
        "threads": torch.get_num_threads(),
        **analyse(comparison).to_json(),
        **({} if comparison.rest is None else {"rest": finite(dataclasses.asdict(comparison.rest))}),
    }
    text = json.dumps(result, indent=2, allow_nan=False) + "\n"
    for file in (out / "comparison.json", *([json_file] if json_file else [])):
        files.write_text(file, text)
