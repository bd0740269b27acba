import itertools
import math

import pytest
import torch
from oracles import error_against, exact_log_softplus, exact_logsumexp, exact_softplus

from ulpm.logdomain import clamped_exp, log_softplus, logsumexp, softplus

DTYPES = (torch.float64, torch.float32)
# Both sides of every switch: 0, where log(1 + e^x) turns into x, log(epsilon), the subnormals, the floors.
NEAR = (
    0,
    0.54,
    1,
    12,
    15.9,
    16,
    19.9,
    20,
    25,
    30,
    33,
    36,
    36.05,
    40,
    40.1,
    43.6,
    44,
    87,
    88,
    103,
    354,
    354.3,
    708,
    745,
    746,
)
POINTS = tuple(sign * x for x in (*NEAR, 1e3, 1e4, 1e5) for sign in (1, -1))


def floor_of(dtype):
    return (
        0.5 * math.log(torch.finfo(dtype).tiny) + 1e-5
    )  # as documented: the square of its exp is then a normal number


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_softplus_agrees_with_fifty_digits_everywhere(dtype):
    eps = torch.finfo(dtype).eps
    x = torch.tensor(POINTS, dtype=dtype)
    for got, at in zip(log_softplus(x), x, strict=True):
        want = exact_log_softplus(at)
        # exp, log1p and log cost an ulp or two each; the result itself is rounded once.
        assert abs(error_against(got, want)) <= eps * (6 + 2 * abs(float(want))), float(at)


@pytest.mark.parametrize("dtype", DTYPES)
def test_softplus_has_full_relative_precision_while_its_value_is_a_normal_number(dtype):
    info = torch.finfo(dtype)
    x = torch.tensor([x for x in POINTS if x > math.log(info.tiny)], dtype=dtype)
    for got, at in zip(softplus(x), x, strict=True):
        want = exact_softplus(at)
        assert abs(error_against(got, want)) <= 4 * info.eps * float(want), float(at)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_finite_up_to_the_largest_number(dtype):
    x = torch.tensor([*POINTS, torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    assert torch.isfinite(log_softplus(x)).all()
    assert torch.isfinite(softplus(x)).all()
    assert torch.isfinite(clamped_exp(x.clamp(max=0))).all()
    assert torch.isfinite(logsumexp(x[:-2], 0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_clamped_exp_is_exp_above_its_floor_and_the_floor_below(dtype):
    eps, floor = torch.finfo(dtype).eps, floor_of(dtype)
    x = torch.tensor([0.0, -1e-3, -1.0, -20.0, 0.999 * floor, 1.001 * floor, 10 * floor, -math.inf], dtype=dtype)
    want = torch.exp(x.double().clamp(min=floor))
    # exp turns the rounding of its argument into a relative error |x|·eps.
    torch.testing.assert_close(clamped_exp(x).double(), want, rtol=eps * (2 + abs(floor)), atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_of_two_clamped_exps_are_never_subnormal(dtype):
    values = clamped_exp(torch.tensor([0.0, -10.0, -40.0, -353.0, -400.0, -1e5, -math.inf], dtype=dtype))
    for a, b in itertools.product(values, repeat=2):
        assert float(a * b) >= torch.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", DTYPES)
def test_documented_floors(dtype):
    assert floor_of(dtype) == pytest.approx({torch.float64: -354, torch.float32: -43.6}[dtype], abs=0.5)
    # Far below the rounding error of 1, so that a floored term next to 1 changes nothing.
    assert float(clamped_exp(torch.tensor(-1e5, dtype=dtype))) < torch.finfo(dtype).eps ** 2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [-1e5, -300.0, 0.0, 7.5, 1e5])
@pytest.mark.parametrize("spread", [0.0, 1.0, 100.0, 1e4])
def test_logsumexp_agrees_with_fifty_digits(dtype, shift, spread):
    info = torch.finfo(dtype)
    x = (shift + spread * torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).to(dtype)
    for got, row in zip(logsumexp(x, -1), x, strict=True):
        want = exact_logsumexp(row)
        # n rounded terms, each at most e^floor too large, and one rounding of the sum top + log(...).
        bound = info.eps * (len(row) + 3 + abs(float(want))) + len(row) * math.exp(floor_of(dtype))
        assert abs(error_against(got, want)) <= bound


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2])
def test_logsumexp_works_along_any_axis(dim):
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(logsumexp(x, dim), torch.logsumexp(x, dim), rtol=1e-14, atol=1e-14)


def test_logsumexp_ignores_minus_infinity_beside_finite_entries():
    x = torch.tensor([-torch.inf, 2.0, -torch.inf, 1.0], dtype=torch.float64)
    torch.testing.assert_close(logsumexp(x, 0), torch.logsumexp(x, 0), rtol=1e-15, atol=0)
