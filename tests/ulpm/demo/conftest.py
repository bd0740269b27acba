"""One browser for all tests of the page."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser import launched


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from launched(tmp_path_factory.mktemp("profile"))
