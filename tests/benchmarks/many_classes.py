"""Metrics of many classes: time beside the products of matrices that they need, and memory, each in its own process.

`python tests/benchmarks/many_classes.py` measures both sizes, `--quick` small ones. It prints a table.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

# Before anything loads an arithmetic library: they look once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import torch
from large import peak_gib
from report import count, table
from timing import seconds_text

import ulpm

MOST_TIMES, MOST_GIB = 3.0, 4.0


@dataclasses.dataclass(frozen=True)
class Size:
    """K classes in d dimensions with ``fewest`` to ``most`` samples each; 0 leaves classes out."""

    K: int
    d: int
    fewest: int
    most: int


SAMPLES, QUICK_SAMPLES = Size(1000, 512, 50, 50), Size(60, 32, 5, 5)
MOMENTS, QUICK_MOMENTS = Size(30_000, 256, 0, 4), Size(300, 16, 0, 4)
BATCH = 1000


def labels_of(size: Size, generator: torch.Generator) -> torch.Tensor:
    """Labels in random order."""
    counts = torch.randint(size.fewest, size.most + 1, (size.K,), generator=generator)
    labels = torch.arange(size.K).repeat_interleave(counts)
    return labels[torch.randperm(len(labels), generator=generator)]


def normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Independent normal numbers."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def seconds_of(work: Callable[[], object], repetitions: int) -> float:
    """The time of the repetition that was disturbed least, on the processor."""
    times = []
    for _ in range(repetitions):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def of_samples(size: Size) -> dict[str, float]:
    """All metrics of samples that are there, beside their products: logits, scores, and seven tables of classes."""
    generator = torch.Generator().manual_seed(0)
    labels = labels_of(size, generator)
    centres, W = normal(generator, size.d, size.K), normal(generator, size.K, size.d)
    H = centres[:, labels] + normal(generator, size.d, len(labels))
    parts = H.split(4096, 1)

    def products() -> None:
        for matrix in (W, centres.mT):
            for part in parts:
                matrix @ part
        for _ in range(7):
            W @ centres

    ulpm.neural_collapse(W[:8], H[:, labels < 8], labels[labels < 8])  # what is done once
    floor = seconds_of(products, 3)
    found = seconds_of(lambda: ulpm.neural_collapse(W, H, labels), 3)
    return {"samples": len(labels), "floor": floor, "seconds": found, "peak": peak_gib()}


def of_moments(size: Size) -> dict[str, float]:
    """Metrics of a stream of batches with classes that never come, beside the products that they need.

    Those are the scatter of the samples, and of the symmetric tables of pairs one half: angles of three, distances.
    """
    generator = torch.Generator().manual_seed(0)
    labels = labels_of(size, generator)
    centres, W = normal(generator, size.K, size.d), normal(generator, size.K, size.d)
    moments = ulpm.ClassMoments(size.K, size.d)
    streamed = 0.0
    for y in labels.split(BATCH):
        h = centres[y] + normal(generator, len(y), size.d)
        start = time.process_time()
        moments.update(h, y)
        streamed += time.process_time() - start
    part = min(512, size.K)

    def products() -> None:
        for first in range(0, size.K, part):
            centres[:part] @ W[first : first + part].mT

    floor = 4 * seconds_of(products, 3) * (size.K / part) / 2
    found = seconds_of(lambda: ulpm.neural_collapse_from_moments(moments, W, per_class=True, absent="leave out"), 1)
    absent = len(moments.absent_classes())
    numbers = {"samples": len(labels), "absent": absent, "streamed": streamed, "floor": floor, "seconds": found}
    return numbers | {"peak": peak_gib()}


WORK = {"of_samples": of_samples, "of_moments": of_moments}


def in_process(name: str, size: Size) -> dict[str, float]:
    """One of the measurements, in a process of its own, so that the peak of memory is its own."""
    command = [sys.executable, __file__, name, json.dumps(dataclasses.asdict(size))]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def report(quick: bool) -> str:
    """Both sizes, as a table."""
    rows = []
    for name, size in (
        ("of_samples", QUICK_SAMPLES if quick else SAMPLES),
        ("of_moments", QUICK_MOMENTS if quick else MOMENTS),
    ):
        found = in_process(name, size)
        absent = f", {count(found['absent'])} absent" if "absent" in found else ""
        what = f"K = {count(size.K)}, d = {size.d}, {count(found['samples'])} samples{absent}"
        streamed = seconds_text(found["streamed"]) if "streamed" in found else "-"
        times = f"{found['seconds'] / found['floor']:.2f}"
        seconds = seconds_text(found["seconds"])
        rows.append((what, streamed, seconds, seconds_text(found["floor"]), times, f"{found['peak']:.2f} GiB"))
    header = ("problem", "moments of the stream", "metrics", "their products", "ratio", "peak memory")
    return table(header, rows)


def main() -> None:
    """Measure and print, or one measurement as JSON for the process that asked for it."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", nargs="?", choices=WORK, help="one measurement alone, as JSON")
    parser.add_argument("size", nargs="?", help="its size, as JSON")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    given = parser.parse_args()
    if given.work:
        json.dump(WORK[given.work](Size(**json.loads(given.size))), sys.stdout)
    else:
        sys.stdout.write(report(given.quick) + "\n")


if __name__ == "__main__":
    main()
