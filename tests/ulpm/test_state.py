"""States as values: replicas, arithmetic, vectors, devices and precisions."""

import numpy as np
import pytest
import torch

import ulpm

PROBLEM = ulpm.Problem([2, 3], 4, bias=True)
BATCH = PROBLEM.random_state(seed=0, replicas=3)
SINGLE = PROBLEM.random_state(seed=1)


def test_a_state_is_what_its_vector_says():
    for state in (BATCH, SINGLE, ulpm.Problem([2, 3], 4).random_state()):
        again = state.like(state.vector())
        for name in ("W", "H"):
            assert torch.equal(getattr(again, name), getattr(state, name))
        assert (again.b is None) == (state.b is None)
    with pytest.raises(ValueError, match="must have 30 entries"):
        SINGLE.like(torch.zeros(29, dtype=torch.float64))


def test_sums_differences_and_multiples_are_those_of_the_vectors():
    other = PROBLEM.random_state(seed=2, replicas=3)
    for got, want in (
        (BATCH + other, BATCH.vector() + other.vector()),
        (BATCH - other, BATCH.vector() - other.vector()),
        (2.5 * BATCH, 2.5 * BATCH.vector()),
        (
            BATCH * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64),
            torch.diag(torch.arange(1.0, 4).double()) @ BATCH.vector(),
        ),
    ):
        torch.testing.assert_close(got.vector(), want, rtol=1e-14, atol=0)


def test_replicas_are_taken_by_number_slice_and_tensor():
    assert torch.equal(BATCH[1].W, BATCH.W[1])
    assert torch.equal(BATCH[1:].b, BATCH.b[1:])
    assert torch.equal(BATCH[torch.tensor([2, 0])].H, BATCH.H[[2, 0]])
    assert len(list(BATCH)) == 3


def test_numbers_keep_their_values_in_another_precision():
    assert SINGLE.to(dtype=torch.float32).W.dtype == torch.float32
    assert torch.equal(SINGLE.to("cpu").H, SINGLE.H)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SINGLE[0], "a single state has no replicas"),
        (lambda: BATCH[5], "there are 3 replicas"),
        (lambda: BATCH["a"], "a replica is chosen by"),
        (lambda: SINGLE * SINGLE, "a state is multiplied by a number"),
        (lambda: SINGLE * None, "a state is multiplied by a number"),
        (lambda: BATCH * torch.ones(2), "a factor must be one number"),
        (lambda: SINGLE * torch.ones(3), "a factor must be one number"),
        (lambda: SINGLE - None, "only states with the same parts"),
        (lambda: SINGLE + ulpm.Problem([2, 3], 4).random_state(), "only states with the same parts"),
        (lambda: SINGLE + SINGLE.to(dtype=torch.float32), "states of one dtype"),
        (lambda: ulpm.State(SINGLE.W, SINGLE.H, torch.zeros(3, dtype=torch.float64)), "b must have shape"),
        (lambda: ulpm.State(SINGLE.W, SINGLE.H, SINGLE.b.float()), "W and b must share dtype"),
        (lambda: ulpm.Solver(krylov_share=float("nan")), "krylov_share must be"),
        (lambda: ulpm.Solver(explicit="x"), "explicit must be a Tableau"),
        (lambda: ulpm.gradient_flow(PROBLEM, SINGLE, log_time=1.0, solver="x"), "solver must be an ulpm.Solver"),
        (lambda: ulpm.Problem([1, 1], 2, weight_decay=torch.ones(2, device="meta")), "weight_decay"),
        (lambda: ulpm.Problem([1, 1], 2, reduction=np.array(["sum", "mean"])), "reduction must be"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(make, words):
    with pytest.raises((TypeError, ValueError, IndexError), match=words) as refused:
        make()
    assert "\n" not in str(refused.value)
