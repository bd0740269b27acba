"""Times and numbers without bounds are placed and written as a person would."""

import decimal
import math

import pytest
import torch

from ulpm.demo.clock import epochs, flow_time, power_of_ten, scientific, spread_out

_PLAIN = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def value(words: str) -> decimal.Decimal:
    """The number that a person reads."""
    mantissa, _, power = words.translate(_PLAIN).rpartition("·")
    if not power.startswith("10") or power == "10":
        return decimal.Decimal(words)
    return decimal.Decimal(mantissa or 1) * decimal.Decimal(10) ** int(power[2:])


@pytest.mark.parametrize("log10", [-1003.35, -26.3, -3.0001, -2.99, -0.5, 0.0, 0.7, 1.3, 3.9996, 4.0, 41.9999, 1000.0])
def test_what_is_written_is_the_number_to_two_digits(log10: float) -> None:
    exact = decimal.Decimal(10) ** decimal.Decimal(log10)
    assert abs(value(scientific(log10)) / exact - 1) < decimal.Decimal("0.051")


def test_zero_and_numbers_that_are_none_are_written_as_such() -> None:
    assert scientific(-math.inf) == "0"
    assert scientific(math.nan) == "–"
    assert scientific(9.9999999e2) == "10¹⁰⁰⁰"
    assert power_of_ten(-12) == "10⁻¹²"


def test_time_runs_evenly_as_the_records_of_a_flow_do() -> None:
    ends = math.log1p(1000 * math.log(10))
    log_time = torch.linspace(0, ends, 11, dtype=torch.float64).expm1().expm1().log()
    log_time[-1] = 1000 * math.log(10)
    clock = flow_time(torch.where(log_time.isinf() & (log_time > 0), torch.nan, log_time)[:5])
    assert clock.positions == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=1e-9)
    assert clock.words[0] == "t = 0"


def test_ticks_of_time_stand_where_their_time_is() -> None:
    log10_time = torch.tensor([-math.inf, 0.0, 1.0, 10.0, 100.0, 1000.0], dtype=torch.float64)
    clock = flow_time(log10_time * math.log(10))
    ticks = {label: at for at, label in clock.ticks}
    for words, position in zip(clock.words, clock.positions, strict=True):
        label = words.removeprefix("t = ").replace("10", "10¹") if words == "t = 10" else words.removeprefix("t = ")
        if label in ticks:
            assert ticks[label] == pytest.approx(position, abs=1e-9)
    assert {"0", "10¹", "10¹⁰", "10¹⁰⁰", "10¹⁰⁰⁰"} <= set(ticks)


def test_epochs_run_by_their_logarithm() -> None:
    clock = epochs([1, 10, 100])
    assert clock.positions == pytest.approx([0, 0.5, 1])
    assert (1.0, "100") in [(round(at, 9), label) for at, label in clock.ticks]


def test_ticks_that_are_too_close_give_way_to_the_last() -> None:
    assert spread_out([(0.0, "a"), (0.01, "b"), (0.5, "c"), (0.96, "d"), (1.0, "e")], 0.1) == [
        (0.0, "a"),
        (0.5, "c"),
        (1.0, "e"),
    ]
