"""The README shows what its example prints."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.usefixtures("unchecked")
def test_the_example_prints_what_the_readme_shows() -> None:
    code, output = re.search(r"```python\n(import ulpm.*?)```\n\n```\n(.*?)```", README, re.DOTALL).groups()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    assert printed.getvalue() == output


def test_the_readme_has_exactly_the_two_set_up_commands() -> None:
    block = re.search(r"## Set up a checkout\n.*?```\n(.*?)```", README, re.DOTALL).group(1)
    assert block.split("\n") == ["make demo", "make test", ""]
