"""Where the numbers of a state lie in a vector, and what a process has of it."""

import pytest
import torch

from ulpm import Problem
from ulpm.distributed import Shard
from ulpm.flow.layout import Layout
from ulpm.flow.vectors import PLAIN

PLAIN_PROBLEM, WITH_BIAS = Problem([2, 1, 4], 5), Problem([2, 1, 4], 5, bias=True)


@pytest.mark.parametrize("problem", [PLAIN_PROBLEM, WITH_BIAS])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_shares_of_all_processes_are_the_state(problem, count):
    state = problem.random_state(seed=0, replicas=3)
    layouts = [Layout(problem, Shard(rank, count)) for rank in range(count)]
    parts = [layout.unpack(layout.pack(state)) for layout in layouts]
    assert torch.equal(torch.cat([part.H for part in parts], -1), state.H)
    for part in parts:
        assert torch.equal(part.W, state.W)
        assert (part.b is None) == (state.b is None)
        assert part.b is None or torch.equal(part.b, state.b)


@pytest.mark.parametrize("problem", [PLAIN_PROBLEM, WITH_BIAS])
@pytest.mark.parametrize("replicas", [0, 1, 3])
def test_of_whole_vectors_a_process_has_what_it_packs_itself(problem, replicas):
    state = problem.random_state(seed=0, replicas=max(1, replicas))[:replicas]
    whole = state.vector()
    for rank in range(2):
        layout = Layout(problem, Shard(rank, 2))
        assert layout.numbers == whole.shape[1]
        assert torch.equal(layout.own(whole), layout.pack(state))


def test_on_one_process_it_computes_as_plain_vectors():
    layout = Layout(PLAIN_PROBLEM)
    a, b = (layout.pack(PLAIN_PROBLEM.random_state(seed=seed, replicas=2)) for seed in (0, 1))
    assert torch.equal(layout.dot(a, b), PLAIN.dot(a, b))
    assert all(map(torch.equal, layout.norms(a, b), PLAIN.norms(a, b)))
    torch.testing.assert_close(layout.dot(a, b), (a * b).sum(1), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(layout.norms(a)[0], a.square().sum(1).sqrt(), rtol=1e-14, atol=0)
