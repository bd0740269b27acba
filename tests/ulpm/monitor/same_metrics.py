"""Metrics by two ways are the same."""

import torch


def assert_same(found, expected, rtol):
    """Each key, up to rounding; numbers near 0 up to 1e-12."""
    assert set(found) == set(expected)
    for key, value in expected.items():
        torch.testing.assert_close(found[key].double(), value.double(), rtol=rtol, atol=1e-12, msg=key)
