"""Tables of the choices of a command, by name."""

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar, runtime_checkable

__all__ = ["by_name", "chosen"]


@runtime_checkable
class Named(Protocol):
    """A record with a name."""

    @property
    def name(self) -> str:
        """What is typed on the command line, and written into config.json."""
        ...


Record = TypeVar("Record", bound=Named)


def by_name(records: Iterable[Record]) -> dict[str, Record]:
    """The table of ``records``, in their order. Raises: ValueError if two of them have the same name."""
    table: dict[str, Record] = {}
    for record in records:
        # A file that was copied from another easily keeps its name, and would then take its place without a word.
        if table.setdefault(record.name, record) is not record:
            raise ValueError(f"two records have the name {record.name!r}: give one of them another name.")
    return table


def chosen(table: Mapping[str, Record], kind: str, name: str) -> Record:
    """The record called ``name``. Raises: ValueError with the names that there are, if it is none of them."""
    if name not in table:
        raise ValueError(f"there is no {kind} {name!r}: choose one of {', '.join(table)}.")
    return table[name]
