"""Measure everything that a GPU should show, in eight minutes, and write docs/gpu.md: `make gpu`.

`make gpu DEVICE=cpu` is a rehearsal: tiny sizes on the CPU, and the page goes to standard output. Nothing is installed:
torch, jaxtyping, safetensors, rich and matplotlib must be there. A part that needs more says what is missing.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import gpu_evaluation
import gpu_large
import gpu_late_time
import gpu_launches
import gpu_marked_tests
import gpu_page
import gpu_replicas
import gpu_training
from gpu_part import Part, Stopped, results

from ulpm.support import files, signals_as_interrupts

# The most valuable first: whatever ends the run, what it has measured is on the page.
PARTS = (
    gpu_marked_tests.PART,
    gpu_evaluation.PART,
    gpu_late_time.PART,
    gpu_replicas.PART,
    gpu_large.PART,
    gpu_training.PART,
    gpu_launches.PART,
)
MINUTES = 8.0
DOCS = Path(__file__).parents[2] / "docs"
_SECONDS_TO_ASK_THE_HARDWARE = 90.0


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu for a rehearsal (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="limit of the whole run (default: %(default)g)")
    parser.add_argument(
        "--out", type=Path, help=f"folder of {gpu_page.NAME}; by default docs/ for a GPU, and none for the CPU"
    )
    return parser.parse_args(given)


def say(what: str) -> None:
    """Progress, which is no result."""
    print(what, file=sys.stderr, flush=True)


def measure(parts: Sequence[Part], device: str, minutes: float, command: str, page: Path | None) -> tuple[str, bool]:
    """Run the parts one after the other, and write the page again after each result.

    Returns: the page, and whether every part is complete.
    Raises: RuntimeError with one sentence if the device does not answer.
    """
    end = time.monotonic() + 60 * minutes
    asked = Part("hardware", "", ("",), 0.0, gpu_page.hardware)
    answer = next(results(asked, device, min(_SECONDS_TO_ASK_THE_HARDWARE, 60 * minutes)))
    if isinstance(answer, Stopped):
        raise RuntimeError(f"The device {device!r} does not answer: it {answer.reason}.")
    done: list[gpu_page.Done] = []

    def write(missing: Sequence[Part]) -> str:
        text = gpu_page.compose(str(answer[0]), command, device == "cpu", done, missing)
        if page is not None:
            files.write_text(page, text)
        return text

    text = ""
    for i, part in enumerate(parts):
        began = time.monotonic()
        # What parts before have left of their time is shared out among the others.
        seconds = (end - began) * part.share / sum(later.share for later in parts[i:])
        say(f"{part.title} (at most {seconds:.0f} s)")
        done.append(gpu_page.Done(part))
        for result in results(part, device, max(0.0, seconds)):
            done[-1].add(result)
            text = write(parts[i:])
        text = write(parts[i + 1 :])
        ending = "done" if done[-1].stopped is None else done[-1].stopped.reason
        say(f"{part.title}: {ending}, {time.monotonic() - began:.0f} s")
    return text, all(each.stopped is None for each in done)


def main() -> int:
    """Run what was asked for; 1 if a part failed or was stopped, so that a rehearsal can fail."""
    options = arguments()
    folder = options.out or (None if options.device == "cpu" else DOCS)
    page = None if folder is None else folder / gpu_page.NAME
    plain = sys.argv[1:] in ([], ["--device", options.device])
    device = "" if options.device == "cuda" else f" DEVICE={options.device}"
    command = f"make gpu{device}" if plain else shlex.join(["python", "tests/benchmarks/gpu.py", *sys.argv[1:]])
    try:
        if folder is not None:
            files.make_folder(folder)
        with signals_as_interrupts():
            text, complete = measure(PARTS, options.device, options.minutes, command, page)
    except (OSError, RuntimeError) as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        say("Interrupted." if page is None else f"Interrupted; {page} has what was measured, if anything.")
        return 130
    sys.stdout.write(text if page is None else f"{page}\n")
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main())
