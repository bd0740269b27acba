import itertools
import math

import pytest
import torch
from mpmath import mp
from oracles import error_against, exact_log_softplus, exact_softplus

from ulpm.logdomain import clamped_exp_, log_loss_and_shares, softplus

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
def test_softplus_has_full_relative_precision_while_its_value_is_a_normal_number(dtype):
    info = torch.finfo(dtype)
    x = torch.tensor([x for x in POINTS if x > math.log(info.tiny)], dtype=dtype)
    for got, at in zip(softplus(x), x, strict=True):
        want = exact_softplus(at)
        assert abs(error_against(got, want)) <= 4 * info.eps * float(want), float(at)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_are_finite_up_to_the_largest_number(dtype):
    x = torch.tensor([*POINTS, torch.finfo(dtype).max, torch.finfo(dtype).min], dtype=dtype)
    assert torch.isfinite(softplus(x)).all()
    assert torch.isfinite(clamped_exp_(x.clamp(max=0))).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_clamped_exp_is_exp_above_its_floor_and_the_floor_below(dtype):
    eps, floor = torch.finfo(dtype).eps, floor_of(dtype)
    x = torch.tensor([0.0, -1e-3, -1.0, -20.0, 0.999 * floor, 1.001 * floor, 10 * floor, -math.inf], dtype=dtype)
    want = torch.exp(x.double().clamp(min=floor))
    # exp turns the rounding of its argument into a relative error |x|·eps.
    torch.testing.assert_close(clamped_exp_(x.clone()).double(), want, rtol=eps * (2 + abs(floor)), atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_of_two_clamped_exps_are_never_subnormal(dtype):
    values = clamped_exp_(torch.tensor([0.0, -10.0, -40.0, -353.0, -400.0, -1e5, -math.inf], dtype=dtype))
    for a, b in itertools.product(values, repeat=2):
        assert float(a * b) >= torch.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", DTYPES)
def test_documented_floors(dtype):
    assert floor_of(dtype) == pytest.approx({torch.float64: -354, torch.float32: -43.6}[dtype], abs=0.5)
    # Far below the rounding error of 1, so that a floored term next to 1 changes nothing.
    assert float(clamped_exp_(torch.tensor(-1e5, dtype=dtype))) < torch.finfo(dtype).eps ** 2


# --- log L and shares ------------------------------------------------------------------------------------------------


def exact_log_loss_and_shares(x):
    """In 50 digits: log Σ_i log(1 + e^{x_i}) and σ(x_i)/L, as mpmath numbers."""
    log_terms = [exact_log_softplus(at) for at in x]
    with mp.workdps(50):
        log_loss = mp.log(mp.fsum(mp.exp(term) for term in log_terms))
        return log_loss, [mp.exp(at - mp.log1p(mp.exp(at)) - log_loss) for at in map(mp.mpf, x.tolist())]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [-1e6, -1e4, -300.0, -41.0, -39.0, -18.0, -1.0, 0.0, 7.5, 300.0, 1e4])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0, 5.0, 100.0, 1e4])
def test_log_loss_and_shares_agree_with_fifty_digits(dtype, shift, spread):
    info = torch.finfo(dtype)
    x = (shift + spread * torch.randn(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).to(dtype)
    log_loss, shares = log_loss_and_shares(x[None])
    want, want_shares = exact_log_loss_and_shares(x)
    assert log_loss.shape == (1, 1)
    # Rounded terms, a sum of 7, a log, and the raise by δ and back, which rounds on the scale of |log L|.
    assert abs(error_against(log_loss[0, 0], want)) <= info.eps * (12 + 2 * abs(float(want)))
    floor = 1e4 * math.exp(floor_of(dtype))
    for got, exactly in zip(shares[0], want_shares, strict=True):
        # x − max x is rounded on the scale of x, and e^ makes that a relative error.
        rounding = info.eps * (12 + 2 * float(x.abs().max())) * float(exactly)
        assert abs(error_against(got, exactly)) <= rounding + 1.01 * floor


@pytest.mark.parametrize("dtype", DTYPES)
def test_raising_all_log_odds_of_a_small_loss_shifts_its_log_and_leaves_the_shares(dtype):
    x = torch.linspace(-60, -45, 9, dtype=dtype)[None]
    log_loss, shares = log_loss_and_shares(x)
    later, same = log_loss_and_shares(x - 64)
    torch.testing.assert_close(later + 64, log_loss, rtol=4 * torch.finfo(dtype).eps, atol=0)
    torch.testing.assert_close(same, shares, rtol=200 * torch.finfo(dtype).eps, atol=0)


def test_rows_of_a_batch_do_not_see_each_other():
    x = torch.tensor([[[-1e5, -1e5 - 3]], [[2.0, -1.0]]], dtype=torch.float64)
    together = log_loss_and_shares(x)
    for b in range(2):
        alone = log_loss_and_shares(x[b])
        assert torch.equal(together[0][b], alone[0])
        assert torch.equal(together[1][b], alone[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_log_loss_and_shares_are_finite_up_to_very_large_log_odds(dtype):
    for top in (*POINTS, 1e30, -1e30):
        log_loss, shares = log_loss_and_shares(torch.tensor([[top, top - 1.0, -1e30]], dtype=dtype))
        assert bool(torch.isfinite(log_loss).all())
        assert bool((shares >= torch.finfo(dtype).tiny).all())
        assert bool((shares <= 1 + 8 * torch.finfo(dtype).eps).all())  # σ(x) ≤ log(1 + e^x)
