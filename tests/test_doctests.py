"""The examples in the docstrings of the public names print what they say."""

import doctest

import pytest
import torch

import ulpm

pytestmark = pytest.mark.usefixtures("unchecked")


def examples(name: str) -> list[doctest.DocTest]:
    names = {"ulpm": ulpm, "torch": torch}
    found = doctest.DocTestFinder().find(getattr(ulpm, name), name, module=False, globs=names)
    return [test for test in found if test.examples]


@pytest.mark.parametrize("name", ulpm.__all__)
def test_every_public_name_has_an_example_that_is_true(name: str) -> None:
    found = examples(name)
    assert found
    report: list[str] = []
    for test in found:
        outcome = doctest.DocTestRunner().run(test, out=report.append)
        assert outcome.attempted > 0
        assert outcome.failed == 0, "".join(report)


def test_an_example_that_is_wrong_is_found() -> None:
    wrong = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None)
    assert doctest.DocTestRunner().run(wrong, out=lambda text: None).failed == 1
