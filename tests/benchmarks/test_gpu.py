"""The measurements on a device: parts that fail or take too long leave the others, and the page is there throughout."""

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gpu
import gpu_large
import gpu_launches
import gpu_marked_tests
import pytest
import torch
from evaluation import Size
from gpu_evaluation import Floors
from gpu_part import Part
from report import Goal

CPU = torch.device("cpu")


def good(device: torch.device, tell: object) -> Iterator[tuple[str, str]]:
    yield "measured", "1"
    yield "measured again", "2"


def broken(device: torch.device, tell: object) -> Iterator[tuple[str, str]]:
    yield "before the mistake", "1"
    raise ValueError("a | bad number\nand more")


def dying(device: torch.device, tell: object) -> Iterator[tuple[str, str]]:
    yield "before the end", "1"
    os._exit(3)


def endless(device: torch.device, tell: object) -> Iterator[tuple[str, str]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    yield "its child is", str(child.pid)
    time.sleep(300)


def looking(page: Path, device: torch.device, tell: object) -> Iterator[tuple[str, str]]:
    text = page.read_text(encoding="utf-8")
    yield "page", "has the row" if "| measured again | 2 |" in text and "ended before" in text else text


def part(measure: object, title: str = "A part", share: float = 1.0) -> Part:
    return Part(title, "What it is.", ("what", "value"), share, measure)


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_part_that_fails_says_why_in_one_row_and_the_others_have_theirs(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    parts = [part(good, "First"), part(broken, "Second"), part(dying, "Third"), part(good, "Fourth")]
    text, complete = gpu.measure(parts, "cpu", 1.0, "make gpu", page)
    assert not complete
    assert text == page.read_text(encoding="utf-8")
    sections = text.split("\n## ")[1:]
    whole = "| measured | 1 |\n| measured again | 2 |"
    assert [section.splitlines()[0] for section in sections] == ["First", "Second", "Third", "Fourth"]
    assert [sections[i].strip().endswith(whole) for i in (0, 3)] == [True, True]
    assert sections[1].strip().endswith("| before the mistake | 1 |\n| **failed: ValueError: a \\| bad number** |  |")
    assert sections[2].strip().endswith("| before the end | 1 |\n| **failed: its process ended with exit code 3** |  |")
    assert "ended before" not in text


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc whether a process is there")
def test_a_run_that_is_cut_off_by_its_limit_has_a_table_and_leaves_no_process_behind(tmp_path: Path) -> None:
    page, begin = tmp_path / "gpu.md", time.monotonic()
    parts = [part(good, "First", 0.8), part(endless, "Endless", 0.1), part(good, "Late", 1e-9)]
    gpu.measure(parts, "cpu", 0.2, "make gpu", page)
    assert time.monotonic() - begin < 12 + 10
    first, second, late = page.read_text(encoding="utf-8").split("\n## ")[1:]
    assert first.strip().endswith("| measured again | 2 |")
    child, stopped = second.strip().splitlines()[-2:]
    assert stopped.startswith("| **stopped after its limit of")
    assert late.strip().endswith("| **stopped after its limit of 0 s** |  |")
    pid, end = int(child.split("|")[2]), time.monotonic() + 5
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert not runs(pid)


def test_the_page_is_written_while_the_run_goes_on(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    parts = [part(good), part(functools.partial(looking, page))]
    text, complete = gpu.measure(parts, "cpu", 1.0, "make gpu", page)
    assert "| page | has the row |" in text
    assert complete


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_without_a_device_there_is_one_sentence_and_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--out", str(tmp_path)])
    assert gpu.main() == 1
    assert capsys.readouterr().err.startswith("The device 'cuda' does not answer: it failed: ")
    assert not list(tmp_path.iterdir())


def test_of_marked_tests_each_that_fails_has_a_row_and_the_goal_is_missed(tmp_path: Path) -> None:
    mark = "@pytest.mark." + "cuda"
    lines = [
        f"{mark}\ndef test_good(): pass",
        f"{mark}\ndef test_bad(): assert False",
        "def test_other(): assert False",
    ]
    file = tmp_path / "test_some.py"
    file.write_text("\n".join(["import pytest", *lines]) + "\n", encoding="utf-8")
    (tmp_path / "test_none.py").write_text("def test_other(): assert False\n", encoding="utf-8")
    assert gpu_marked_tests.marked_files(tmp_path) == [file]
    (bad, outcome), total, goal = gpu_marked_tests.run_tests([file], print)
    assert "test_bad" in bad
    assert outcome == "failed"
    assert total[1] == "1 passed, 1 failed"
    assert isinstance(goal, Goal)
    assert not goal.met


def test_the_floor_is_the_longer_of_arithmetic_and_traffic() -> None:
    size = Size(K=10, N=100, d=20)  # three products: 120,000 operations; 9,000 numbers of 8 bytes
    assert Floors(bandwidth=72e3, throughput=1e12).seconds(size, 3, 8) == pytest.approx(1.0)
    assert Floors(bandwidth=1e12, throughput=6e4).seconds(size, 3, 8) == pytest.approx(2.0)


def test_a_flow_that_does_not_fit_is_not_run_but_a_smaller_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    full, dtype = Size(10, 640, 16), torch.float32
    half = gpu_large.needed(Size(10, 320, 16), CPU, dtype)
    monkeypatch.setattr(gpu_large, "available_bytes", lambda device: half)
    monkeypatch.setattr("ulpm.flow.memory.available_bytes", lambda device: half)
    skipped, explicit, stiff = gpu_large.steps(full, CPU, dtype, print)
    assert skipped[:3] == ("steps", "float32", "640")
    assert skipped[3].startswith("not run: ")
    assert (explicit[0], explicit[2], stiff[2]) == ("explicit step", "320", "320")
    products = int(stiff[0].removeprefix("stiff step with ").removesuffix(" Jacobian products"))
    assert products > 0


def test_operations_that_compute_are_counted_and_views_are_not() -> None:
    a, b = torch.ones(3, 4), torch.ones(4, 3)

    def work() -> None:
        torch.matmul(a, b).add_(1.0).t().unsqueeze(0).exp()

    assert gpu_launches.counted(work, 4, CPU).kernels == 3


@pytest.mark.slow
def test_the_rehearsal_fills_the_table_of_every_part_and_leaves_the_page_of_the_site_alone(tmp_path: Path) -> None:
    site = gpu.DOCS / "gpu.md"
    before = site.read_bytes()
    command = [sys.executable, gpu.__file__, "--device", "cpu", "--out", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    for each in gpu.PARTS:
        _, found, section = text.partition(f"\n## {each.title}\n")
        assert found
        assert section.split("\n## ")[0].count("\n| ") >= 2, each.title
    assert "**" not in text  # nothing failed, was stopped or is missing
    assert "nan" not in text
    assert "This was a rehearsal" in text
    assert site.read_bytes() == before
