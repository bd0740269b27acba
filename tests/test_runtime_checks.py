"""The checks of signatures under which the tests run find what is wrong, also where checks are shared."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest
import runtime_checks
import torch
from jaxtyping import Float, jaxtyped
from torch import Tensor


def defined(hint: Any, found: Any = None) -> Callable[..., Any]:
    """A function of one name with another signature each time, as an inner function may have."""

    @jaxtyped(typechecker=runtime_checks.checked)
    def inner(x: hint) -> hint:
        return x if found is None else found

    return inner


def test_functions_of_one_name_are_checked_each_by_its_own_signature() -> None:
    given = {Float[Tensor, "2 3"]: torch.zeros(2, 3), Float[Tensor, "3 2"]: torch.zeros(3, 2), int: 1}
    for hint in given:
        function = defined(hint)
        for other, value in given.items():
            if other is hint:
                assert function(value) is value
                with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
                    defined(hint, found="text")(value)
            else:
                with pytest.raises(jaxtyping.TypeCheckError, match="parameter"):
                    function(value)


def test_a_function_that_is_defined_again_shares_its_check() -> None:
    defined(Float[Tensor, "n"])(torch.zeros(2))
    before = len(runtime_checks._checks)
    for n in range(3):
        defined(Float[Tensor, "n"])(torch.zeros(n))
    assert len(runtime_checks._checks) == before
