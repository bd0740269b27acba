"""The command line: ``ulpm flow | resume | plot | table | certify | measure | forecast | demo``.

``ulpm --version`` is in __main__.
"""

from collections.abc import Sequence
from typing import Annotated

import tyro

from ulpm import _files
from ulpm._streams import in_any_terminal, wide_enough
from ulpm.cli.demo import Demo
from ulpm.cli.features import ForecastFeatures, Measure
from ulpm.cli.flow import Flow, Resume
from ulpm.cli.output import complain, in_options, leads
from ulpm.cli.results import Certify, Plot, Table
from ulpm.flow.interrupt import signals_as_interrupts

__all__ = ["main"]

Command = (
    Annotated[Flow, tyro.conf.subcommand("flow")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Certify, tyro.conf.subcommand("certify")]
    | Annotated[Measure, tyro.conf.subcommand("measure")]
    | Annotated[ForecastFeatures, tyro.conf.subcommand("forecast")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns: the exit status, 0 if all went well, 1 with one sentence on standard error otherwise.

    After SIGINT, SIGTERM or SIGHUP it is 128 + the number of the signal.
    """
    return in_any_terminal("ulpm", lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    with wide_enough():
        command = tyro.cli(
            Command,
            prog="ulpm",
            description="Neural collapse in the unconstrained layer-peeled model, followed to astronomically late "
            "time. `ulpm --version` says which version this is.",
            args=arguments,
            config=(tyro.conf.OmitSubcommandPrefixes,),
        )
    try:
        with signals_as_interrupts():
            return int(command.run())
    except ConnectionError as error:
        complain(f"{error} `ulpm resume` continues a flow from its last checkpoint.")
        return 1
    except (ValueError, TypeError, OSError, ImportError, OverflowError, RecursionError) as error:
        _complain_once(in_options(_files.sentence(error)))
        return 1
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for what does not fit.
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        complain("there is not enough memory for a run of this size.")
        return 1
    except KeyboardInterrupt as error:
        way = "; `ulpm resume` continues a flow from its last checkpoint" if isinstance(command, Flow | Resume) else ""
        _complain_once(f"interrupted{way}.")
        return getattr(error, "exit_status", 130)


def _complain_once(sentence: str) -> None:
    """What is wrong with the arguments, every process sees."""
    if leads():
        complain(sentence)
