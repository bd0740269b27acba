"""The command line: ``python -m real_experiments train | measure | compare | reproduce | coverage``."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from real_experiments.compare import Compare
from real_experiments.coverage import Coverage
from real_experiments.measure import Measure
from real_experiments.reproduce import Reproduce
from real_experiments.train import Train
from ulpm.support import files, in_any_terminal, signals_as_interrupts, wide_enough

__all__ = ["main"]

Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Measure, tyro.conf.subcommand("measure")]
    | Annotated[Compare, tyro.conf.subcommand("compare")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
    | Annotated[Coverage, tyro.conf.subcommand("coverage")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns: the exit status, 0 if all went well, 1 with one sentence on standard error otherwise.

    After SIGINT, SIGTERM or SIGHUP it is 128 + the number of the signal, or 130 where `train` left a checkpoint.
    """
    return in_any_terminal("real_experiments", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    with wide_enough():
        command = tyro.cli(
            Command,
            prog="python -m real_experiments",
            description="Train real networks, and compare their neural collapse with the model's.",
            args=arguments,
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
    try:
        with signals_as_interrupts():
            return int(command.run())
    except ConnectionError as error:
        # The process that speaks may be the one that has ended.
        print(f"real_experiments: {error}", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError) as error:
        _complain(files.sentence(error))
        return 1
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for a lack of memory.
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        _complain("there is not enough memory: lower --batch-size, --measurement-batch or --width.")
        return 1
    except KeyboardInterrupt as error:
        _complain(f"interrupted{_way_on(command)}.")
        return getattr(error, "exit_status", 130)


def _way_on(command: object) -> str:
    """How to go on from the last checkpoint. After ``train --overwrite`` it may be that of the earlier run."""
    if isinstance(command, Reproduce):
        return "; the same command continues from the last checkpoint"
    if isinstance(command, Train) and not command.overwrite:
        return "; the same command with --resume continues from the last checkpoint"
    return ""


def _complain(sentence: str) -> None:
    """Once, also when several processes fail for the same reason."""
    if os.environ.get("RANK", "0") == "0" or os.environ.get("WORLD_SIZE", "1") == "1":
        print(f"real_experiments: {sentence}", file=sys.stderr)
