"""The checker of signatures that the tests switch on: beartype, with an int allowed where a float is asked for.

That is what static checkers allow as well (the numeric tower of PEP 484).
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterator
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))
_checks: dict[Hashable, Callable[..., Any]] = {}


@contextlib.contextmanager
def without_checks() -> Iterator[None]:
    """No signature is checked here."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _contents(hint: Any) -> Hashable:
    """What makes two hints equal: jaxtyping makes a new class each time that one of an array is written."""
    if isinstance(hint, type) and issubclass(hint, jaxtyping.AbstractArray):
        return (hint.dtype, hint.array_type, hint.dim_str)
    return hint


def checked(signature: Callable[..., Any]) -> Callable[..., Any]:
    """The check of ``signature``: what jaxtyping passes has a function's signature, but neither its body nor a closure.

    beartype takes a millisecond to build one. Many functions are never called while checks are on, and jaxtyping
    decorates an inner function each time that it is defined. So a check is built at its first call, and equal
    signatures of one name share it.
    """
    check: Callable[..., Any] | None = None

    @functools.wraps(signature)
    def built_when_called(*args: Any, **kwargs: Any) -> Any:
        nonlocal check
        if check is None:
            hints = tuple((name, _contents(hint)) for name, hint in signature.__annotations__.items())
            name = (signature.__module__, signature.__qualname__, signature.__code__, hints)
            if name not in _checks:
                _checks[name] = _beartype(signature)
            check = _checks[name]
        return check(*args, **kwargs)

    return built_when_called
