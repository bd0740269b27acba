"""A table keeps the order of its records, and says what there is when a name is unknown."""

import dataclasses

import pytest

from real_experiments.choices import by_name, chosen
from real_experiments.datasets import DATASETS
from real_experiments.models import NETWORKS


@dataclasses.dataclass(frozen=True)
class Thing:
    name: str
    value: int


def test_records_are_found_by_their_names_in_the_order_in_which_they_came() -> None:
    table = by_name(Thing(name, value) for value, name in enumerate("bca"))
    assert list(table) == ["b", "c", "a"]
    assert chosen(table, "thing", "c") == Thing("c", 1)
    with pytest.raises(ValueError, match=r"^there is no thing 'd': choose one of b, c, a\.$"):
        chosen(table, "thing", "d")


def test_two_records_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two records have the name 'a'"):
        by_name([Thing("a", 1), Thing("b", 2), Thing("a", 3)])


def test_networks_and_data_sets_have_titles_of_their_own() -> None:
    assert [each.title for each in NETWORKS.values()] == ["ResNet18", "VGG-13"]
    assert len({each.title for each in DATASETS.values()}) == len(DATASETS) == 5
    assert all(each.name == name for table in (NETWORKS, DATASETS) for name, each in table.items())
