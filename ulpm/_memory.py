"""How much memory is free: of the machine, and of the control groups that a container or a batch system sets."""

import re
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
# A process that has come so far gets this much, and to ask takes longer than what is small does.
UNASKED_BYTES = 2**25


def free_bytes(root: Path = Path("/")) -> int | None:
    """Memory that this process can still get; None where the system does not say. ``root`` is for tests."""
    known = [*_of_machine(root), *_of_groups(root)]
    return min(known) if known else None


def require(needed: int, what: str) -> None:
    """Raises: ValueError with one sentence if ``what`` needs more than is free, of which little is not asked."""
    if needed < UNASKED_BYTES:
        return
    free = free_bytes()
    if free is not None and needed > free:
        raise ValueError(f"{what} needs {in_words(needed)}, but {in_words(free)} are free: make it smaller.")


def in_words(size: int) -> str:
    """A size in GiB, however large."""
    gibibytes = size // 2**30
    return f"about {size / 2**30:.1f} GiB" if gibibytes < 10**9 else "more than 10^9 GiB"


def _of_machine(root: Path) -> list[int]:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return [] if found is None else [int(found[1]) * 1024]


def _of_groups(root: Path) -> list[int]:
    """What each limit on the way from this process's control group to the root leaves, by version 2 and 1."""
    known = []
    mounted = root / _GROUPS.relative_to("/")
    tops: tuple[Path, ...]
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            tops, names = (mounted, mounted / "unified"), ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            tops, names = (
                (mounted / "memory",),
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
            )
        else:
            continue
        for top in tops:
            # In a container the group's own path may not be mounted; what is there are its files, at the top.
            folder = top / group.lstrip("/")
            while True:
                known += _left(folder, *names)
                if folder == top or top not in folder.parents:
                    break
                folder = folder.parent
    return known


def _left(folder: Path, limit: str, used: str, cached: str) -> list[int]:
    """The limit less what is used; file pages that the system gives back when asked do not count."""
    most, now = _text(folder / limit).strip(), _text(folder / used).strip()
    if not (most.isdigit() and now.isdigit()):
        return []
    given_back = re.search(rf"^{cached} (\d+)$", _text(folder / "memory.stat"), re.MULTILINE)
    return [max(0, int(most) - int(now) + (int(given_back[1]) if given_back else 0))]


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
