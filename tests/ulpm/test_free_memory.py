"""Free memory is what the machine, and every control group on the way to it, leaves."""

from pathlib import Path

import pytest

from ulpm import _memory

GIB = 2**30


def machine(root: Path, groups: str, files: dict[str, str]) -> Path:
    """A /proc and a /sys below ``root``, with 20 GiB available."""
    files = {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable:   {20 * 2**20} kB\n", "proc/self/cgroup": groups} | files
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_limits_it_is_that_of_the_machine(tmp_path: Path) -> None:
    unlimited = {"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "5\n"}
    assert _memory.free_bytes(machine(tmp_path, "0::/a\n", unlimited)) == 20 * GIB
    assert _memory.free_bytes(tmp_path / "nothing here") is None


@pytest.mark.parametrize("limited", ["a/b", "a", "."])
def test_a_limit_of_version_2_counts_wherever_on_the_way_it_is_set(tmp_path: Path, limited: str) -> None:
    folder = f"sys/fs/cgroup/{limited}"
    files = {f"{folder}/memory.max": f"{4 * GIB}\n", f"{folder}/memory.current": f"{3 * GIB}\n"}
    files |= {f"{folder}/memory.stat": f"anon 7\ninactive_file {GIB}\n"}
    assert _memory.free_bytes(machine(tmp_path, "0::/a/b\n", files)) == 2 * GIB


@pytest.mark.parametrize("folder", ["memory/job", "memory"])
def test_a_limit_of_version_1_counts_also_where_a_container_sees_it_at_the_top(tmp_path: Path, folder: str) -> None:
    here = f"sys/fs/cgroup/{folder}"
    files = {f"{here}/memory.limit_in_bytes": f"{4 * GIB}\n", f"{here}/memory.usage_in_bytes": f"{5 * GIB}\n"}
    files |= {f"{here}/memory.stat": f"total_inactive_file {2 * GIB}\n"}
    assert _memory.free_bytes(machine(tmp_path, "4:memory:/job\n1:cpu:/\n", files)) == GIB


def test_what_does_not_fit_is_refused_however_much_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "free_bytes", lambda: GIB)
    _memory.require(GIB, "this")
    with pytest.raises(ValueError, match=r"this needs about 1\.5 GiB, but about 1\.0 GiB are free"):
        _memory.require(3 * GIB // 2, "this")
    with pytest.raises(ValueError, match=r"this needs more than 10\^9 GiB"):
        _memory.require(10**400, "this")
