"""A monitor costs little beyond its forward passes."""

import pytest
from monitoring import cost

from real_experiments.models import build_model


@pytest.mark.slow
@pytest.mark.parametrize("model", ["vgg13", "resnet18"])
def test_a_measurement_adds_at_most_five_percent_to_its_forward_passes(model: str) -> None:
    # Of the smallest networks of this project: the added time is the same for larger ones.
    assert cost(build_model(model, width=8), 5).overhead <= 0.05
