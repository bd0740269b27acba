"""What a module uses of the core and of libraries, read from its source: for the tests of the packages built on it."""

import ast
from collections.abc import Iterator

import ulpm
import ulpm.demo
import ulpm.distributed
import ulpm.forecasting
import ulpm.plotting
import ulpm.support

FORBIDDEN = {"pickle", "dill", "joblib", "shelve", "marshal", "torchvision"}
PUBLIC_MODULES = {
    "demo": [*ulpm.demo.__all__],
    "distributed": [*ulpm.distributed.__all__],
    "forecasting": [*ulpm.forecasting.__all__],
    "plotting": [*ulpm.plotting.__all__],
    "support": [*ulpm.support.__all__],
}


def used(source: str) -> Iterator[str]:
    """Dotted names that a module imports, and attributes ``a.b`` of plain names."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield f"{node.value.id}.{node.attr}"


def unsafe(source: str, *also_forbidden: str) -> list[str]:
    """Complaints about libraries that are out of bounds, pickle above all."""
    forbidden = {*FORBIDDEN, *also_forbidden}
    return [
        f"uses {target}"
        for target in used(source)
        if target.split(".")[0] in forbidden or target in ("torch.load", "torch.save")
    ]


def private(source: str) -> list[str]:
    """Complaints about parts of the core that are no public names."""
    parts = [target.split(".") for target in used(source)]
    return [f"uses {'.'.join(part)}" for part in parts if part[0] == "ulpm" and len(part) > 1 and not public(part[1:])]


def public(inside: list[str]) -> bool:
    """Whether ulpm.<inside> is a public name, or one of a public module."""
    if inside[0] in PUBLIC_MODULES:
        return len(inside) == 1 or (len(inside) == 2 and inside[1] in PUBLIC_MODULES[inside[0]])
    return len(inside) == 1 and inside[0] in ulpm.__all__
