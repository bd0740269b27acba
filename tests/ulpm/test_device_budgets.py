"""How much a GPU has to launch, and how often the host waits for it, in each kind of work: no more than now.

A kernel of a small problem takes 5 to 10 µs to launch and a wait as long as all that is queued, so these numbers are
what small problems cost on a GPU. ``python tests/device_work.py --sites 10`` says which lines they come from. Lower a
budget when the work gets less; raise one only for something that is worth it.
"""

import dataclasses

import device_work
import pytest

pytestmark = pytest.mark.usefixtures("unchecked_module")


@dataclasses.dataclass(frozen=True)
class Budget:
    launches: float
    waits: float
    uploads: float


BUDGETS = {
    "attempted explicit step, 1 replica": Budget(242, 1, 1),
    "attempted explicit step, 5 replicas": Budget(254, 1, 1),
    "attempted stiff step, 1 replica": Budget(2290, 1, 1),
    "attempted stiff step, 5 replicas": Budget(2520, 1, 1),
    "record": Budget(343, 6, 6),
    "certificate": Budget(128, 4, 1),
    "neural_collapse": Budget(145, 2, 0),
    "batch of ClassMoments": Budget(30, 1, 0),
    "descent step": Budget(39, 0, 0),
    "training batch (ResNet18)": Budget(172, 0, 1),
}


def test_every_kind_of_work_has_a_budget() -> None:
    assert BUDGETS.keys() == device_work.KINDS.keys()


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if "stiff step, 5" in kind else kind for kind in BUDGETS]
)
def test_work_keeps_to_its_budget(kind: str) -> None:
    launches, waits, uploads = device_work.KINDS[kind]().each
    budget = BUDGETS[kind]
    assert 0 < launches <= budget.launches
    assert waits <= budget.waits
    assert uploads <= budget.uploads
