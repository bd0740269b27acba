"""Small problems run on one thread, large ones on as many as were set, which are set again afterwards."""

import pytest
import torch

import ulpm
from ulpm._threads import suitable_threads


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_small_state_is_given_one_thread_and_a_large_one_all():
    with suitable_threads(torch.zeros(1000)):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    with suitable_threads(torch.zeros(1_000_000)):
        assert torch.get_num_threads() == 2


def test_the_number_of_threads_is_restored_after_a_run_and_after_an_error():
    problem = ulpm.Problem([2, 2], 2)
    ulpm.gradient_flow(problem, problem.random_state(), log_time=1.0, records=2)
    assert torch.get_num_threads() == 2

    def fail():
        with suitable_threads(torch.zeros(1)):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert torch.get_num_threads() == 2
