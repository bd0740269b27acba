"""The command line: ``python -m theory_experiments [NAME ...]``."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import tyro

from theory_experiments.harness import results
from theory_experiments.harness.experiments import chosen
from theory_experiments.harness.report import REPORT
from theory_experiments.harness.results import CLAIMS
from theory_experiments.harness.runner import run
from theory_experiments.harness.theorems_page import rewrite
from ulpm.distributed import torchrun_place, torchrun_shard
from ulpm.support import files, in_any_terminal, signals_as_interrupts, wide_enough

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class Verify:
    """Verify the theory numerically: every theorem as claims with bounds, and negative controls that must fail.

    The exit status is 0 if every claim holds and every negative control fails, else 1. Under torchrun the processes
    share the random starts and the negative controls. The results are those of one process.
    """

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Experiments to run, such as rates; all if none is named."""
    only: tuple[str, ...] = ()
    """The same list as an option. You may give both."""
    quick: bool = False
    """Small sizes and few starts: seconds for each experiment instead of minutes."""
    seeds: int | None = None
    """Number of random starts, instead of each experiment's own."""
    device: str | None = None
    """Where to compute: cpu (by default), cuda or cuda:1."""
    json: Path | None = None
    """Write the claims of this run here in JSON."""
    out: Path = Path("runs/theory")
    """Directory for claims.json, report.md, and a page and a figure of each experiment. Results of others stay."""
    theorems_page: Path | None = None
    """Run nothing. Write this page (theorem → file → figure → verdict) and the report from the results in --out."""

    def run(self, command: str) -> int:
        """Returns: the exit status."""
        if self.theorems_page is not None:
            rewrite(self.theorems_page, self.out)
            print(f"{self.theorems_page}, {self.out / REPORT} and its pages are written from {self.out / CLAIMS}.")
            return 0
        with torchrun_shard(self.device or "cpu") as shard:
            shard.agree(vars(self))
            outcomes = run(
                chosen([*self.names, *self.only]),
                self.out,
                quick=self.quick,
                starts=self.seeds,
                device=self.device,
                command=command if shard.count == 1 else f"torchrun --nproc-per-node {shard.count} {command[7:]}",
                shard=shard,
            )
            if not shard.leads:
                return 0 if all(outcome.passes for outcome in outcomes) else 1
        if self.json is not None:
            results.write(self.json, outcomes)
        passed = sum(outcome.passes for outcome in outcomes)
        print(f"{passed} of {len(outcomes)} experiments verified; the report is {self.out / REPORT}.")
        return 0 if passed == len(outcomes) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns: the exit status, 0 if all went well, 1 otherwise, with one sentence after an error."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    return in_any_terminal("theory_experiments", lambda: _main(given))


def _main(given: Sequence[str]) -> int:
    with wide_enough():
        verify = tyro.cli(Verify, prog="python -m theory_experiments", args=given)
    torch.set_num_threads(1)  # problems are small; results do not depend on the number of cores
    try:
        with signals_as_interrupts():
            return verify.run(shlex.join(["python", "-m", "theory_experiments", *given]))
    except ConnectionError as error:
        print(
            f"theory_experiments: {error} The results have the experiments that ended: name the others.",
            file=sys.stderr,
        )
        return 1
    except (ValueError, TypeError, OSError) as error:
        # Every process sees a mistake in the arguments; one of them prints it.
        if _leads():
            print(f"theory_experiments: {files.sentence(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        if _leads():
            print(
                "theory_experiments: interrupted; the results have the experiments that ended: name the others.",
                file=sys.stderr,
            )
        return getattr(error, "exit_status", 130)


def _leads() -> bool:
    """Whether this process prints. It does where the environment is not that of torchrun."""
    try:
        return torchrun_place().leads
    except ValueError:
        return True
