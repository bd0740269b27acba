"""Run the benchmarks and write their pages in docs/: `make bench`, or `python tests/benchmarks/run.py --help`."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Before anything loads an arithmetic library: they look once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import evaluation_cost
import large
import page
import reach
import replicas
import scaling
import torch
import work_precision
from report import Section, Tell
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

BENCHMARKS: dict[str, Callable[[bool, Tell], Section]] = {
    "reach": reach.run,
    "work_precision": work_precision.run,
    "replicas": replicas.run,
    "evaluation_cost": evaluation_cost.run,
    "large": large.run,
    "scaling": scaling.run,
}
DOCS = Path(__file__).parents[2] / "docs"


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run this one alone; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that everything works")
    parser.add_argument(
        "--out", type=Path, help="folder of the page and its figures; docs/ for a whole run, else only print the page"
    )
    return parser.parse_args(given)


def main() -> None:
    """Run what was asked for."""
    options = arguments()
    torch.set_num_threads(1)
    load_before = page.load()
    names = options.only or list(BENCHMARKS)
    sections = []
    columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=len(names))
        for name in names:

            def tell(what: str, name: str = name) -> None:
                progress.update(task, description=f"{name}: {what}")

            start = time.perf_counter()
            sections.append(BENCHMARKS[name](options.quick, tell))
            progress.console.print(f"{name}: {time.perf_counter() - start:.0f} s")
            progress.advance(task)
    whole = not options.quick and options.only is None
    flags = [f"--only {name}" for name in options.only or ()] + ["--quick"] * options.quick
    command = "make bench" if whole else " ".join(["python tests/benchmarks/run.py", *flags])
    folder = options.out or (DOCS if whole else None)
    for name in dict.fromkeys(section.page for section in sections):
        part = [section for section in sections if section.page == name]
        text = page.compose(part, command, load_before, options.quick)
        sys.stdout.write(text if folder is None else f"{page.write(part, text, folder)}\n")


if __name__ == "__main__":
    main()
