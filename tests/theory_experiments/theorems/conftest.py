"""Set-up of the tests of single experiments: their figures are looked at on the page, not here."""

import pytest


@pytest.fixture(autouse=True)
def _without_room_for_labels(unspaced: None) -> None:
    """Of each figure it is asked that there is one."""
