"""The command line: ``ulpm flow | resume | plot | table | certify | demo``."""

import sys
from collections.abc import Sequence
from typing import Annotated

import tyro

from ulpm.cli.demo import Demo
from ulpm.cli.flow import Flow, Resume
from ulpm.cli.output import leads
from ulpm.cli.results import Certify, Plot, Table

__all__ = ["main"]

Command = (
    Annotated[Flow, tyro.conf.subcommand("flow")]
    | Annotated[Resume, tyro.conf.subcommand("resume")]
    | Annotated[Plot, tyro.conf.subcommand("plot")]
    | Annotated[Table, tyro.conf.subcommand("table")]
    | Annotated[Certify, tyro.conf.subcommand("certify")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Returns: the exit status, 0 if all went well, 1 with one sentence on standard error otherwise."""
    command = tyro.cli(
        Command,
        prog="ulpm",
        description="Neural collapse in the unconstrained layer-peeled model, followed to astronomically late time.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    try:
        return int(command.run())
    except ConnectionError as error:
        print(f"ulpm: {error} `ulpm resume` goes on with a flow from its last checkpoint.", file=sys.stderr)
        return 1
    except (ValueError, TypeError, OSError) as error:
        # What is wrong with the arguments, every process sees.
        if leads():
            print(f"ulpm: {error}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        # torch has no class of its own for what does not fit.
        if not isinstance(error, MemoryError) and "alloc" not in str(error):
            raise
        print("ulpm: there is not enough memory for a run of this size.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if leads():
            print("ulpm: interrupted; `ulpm resume` goes on with a flow from its last checkpoint.", file=sys.stderr)
        return 130
