"""The stand-in for a GPU refuses what CUDA refuses, counts what CUDA waits for, and shows planted faults of a flow."""

import copy
import dataclasses
from collections.abc import Callable

import pytest
import standin_device
import torch
from standin_device import NAME, StandinTensor
from torch import Tensor

import ulpm
from ulpm.flow.krylov import ConjugateGradients
from ulpm.flow.system import FlowSystem
from ulpm.losses import LossAt

pytestmark = pytest.mark.usefixtures("unchecked_module")

ON_CPU = torch.randn(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
INDEX = torch.tensor([0, 2])
MASK = torch.tensor([True, False, True, False])


def moved() -> Tensor:
    return ON_CPU.to(NAME)


def test_factory_functions_make_tensors_of_the_device() -> None:
    made = [
        torch.zeros(3, device=NAME),
        torch.arange(3, device=NAME),
        torch.linspace(0, 1, 3, device=torch.device(NAME)),
        torch.eye(3, device=NAME),
        torch.tensor([1.0, 2.0, 3.0], device=NAME),
        torch.full((3,), 2, device=NAME),
        torch.empty(3, device=NAME).fill_(1),
        torch.rand(3, device=NAME),
        moved().new_zeros(3),
        torch.ones_like(moved()),
    ]
    assert all(isinstance(tensor, StandinTensor) and tensor.device.type == NAME for tensor in made)
    assert made[1].tolist() == [0, 1, 2]
    assert made[4].tolist() == [1, 2, 3]
    assert torch.empty(3, device="cpu").device.type == "cpu"


CPU_GENERATOR = torch.Generator()
REFUSED: dict[str, Callable[[Tensor], object]] = {
    "sum": lambda x: x + ON_CPU,
    "product": lambda x: x @ ON_CPU.T,
    "concatenation": lambda x: torch.cat([x, ON_CPU]),
    "stack of numbers": lambda x: torch.stack([x.sum(), ON_CPU.sum()]),
    "sum in place": lambda x: ON_CPU.clone().add_(x),
    "a number on the CPU in place": lambda x: torch.tensor(1.0).add_(x.sum()),
    "output on the CPU": lambda x: torch.add(x.sum(), 1, out=torch.empty((), dtype=torch.float64)),
    "gather": lambda x: x.gather(0, torch.zeros(1, 5, dtype=torch.int64)),
    "index_select": lambda x: x.index_select(0, INDEX),
    "masked_fill": lambda x: x.masked_fill(ON_CPU > 0, 0.0),
    "CPU tensor by index of the device": lambda x: ON_CPU[INDEX.to(NAME)],
    "assignment from the CPU": lambda x: x.__setitem__(INDEX, ON_CPU[:2]),
    "numpy": lambda x: x.numpy(),
    "generator of the CPU": lambda x: torch.randn(3, generator=CPU_GENERATOR, device=NAME),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cuda_refuses_is_refused(name: str) -> None:
    with pytest.raises((RuntimeError, TypeError), match=r"standin:0 and cpu|numpy|generator"):
        REFUSED[name](moved())


ALLOWED: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, int, int]]] = {
    "number on the CPU": (lambda x: x * torch.tensor(2.0, dtype=torch.float64), (0, 0, 1)),
    "number on the CPU first": (lambda x: torch.tensor(2.0, dtype=torch.float64) * x, (0, 0, 1)),
    "index on the CPU": (lambda x: x[INDEX], (0, 1, 1)),
    "mask on the CPU": (lambda x: x[MASK], (0, 1, 1)),
    "view": (lambda x: x[1:].T.reshape(5, 3)[None].squeeze(0), (0, 0, 0)),
    "copy of a view": (lambda x: x[1:].T.contiguous(), (0, 0, 1)),
    "upload into a view": (lambda x: x.clone().index_put_((x.new_zeros(1).long(),), x[:1]), (0, 0, 4)),
    "product of a vector": (lambda x: x[:, 0] @ x, (0, 0, 1)),
    "symmetric eigenvalues": (lambda x: torch.linalg.eigvalsh(x @ x.T), (1, 0, 2)),
    "mask": (lambda x: x[x > 0], (1, 0, 1)),
    "nonzero": (lambda x: x.nonzero(), (1, 0, 0)),
    "masked_select": (lambda x: x.masked_select(x > 0), (1, 0, 1)),
    "assignment of a number by a mask": (lambda x: _assigned(x.clone()), (0, 0, 4)),
    "to the host": (lambda x: x.cpu(), (1, 0, 0)),
    "to the host and back": (lambda x: x.cpu().to(x.device), (1, 1, 0)),
}


def _assigned(x: Tensor) -> Tensor:
    x[x > 0] = 0.0
    return x


@pytest.mark.parametrize("inference", [False, True], ids=["plain", "inference mode"])
@pytest.mark.parametrize("name", ALLOWED)
def test_the_numbers_are_those_of_the_cpu_and_the_work_is_counted(name: str, inference: bool) -> None:
    work, (waits, uploads, launches) = ALLOWED[name]
    x = moved()
    with torch.inference_mode(inference), standin_device.count() as counts:
        found = work(x)
    assert torch.equal(found.cpu(), work(ON_CPU))
    assert (counts.waits, counts.uploads, counts.launches) == (waits, uploads, launches), counts.by_name


def test_what_torch_composes_of_other_operations_is_counted_as_those() -> None:
    x = moved()
    with standin_device.count() as counts:
        found = x.logsumexp(0)
    assert torch.equal(found.cpu(), ON_CPU.logsumexp(0))
    assert {"amax", "sub", "exp_", "sum", "log_"} <= {name for _, name in counts.by_name}


ASKED: dict[str, Callable[[Tensor], object]] = {
    "item": lambda x: x[0, 0].item(),
    "float": lambda x: float(x[0, 0]),
    "bool": lambda x: bool(x[0, 0]),
    "int as an index": lambda x: range(9)[x[0, 0].long()],
    "tolist": lambda x: x.tolist(),
    "equal": lambda x: torch.equal(x, x),
}


@pytest.mark.parametrize("name", ASKED)
def test_a_question_of_the_host_is_a_wait(name: str) -> None:
    x = moved().abs()
    with standin_device.count() as counts:
        found = ASKED[name](x)
    assert found == ASKED[name](ON_CPU.abs())
    assert counts.waits == 1
    assert counts.uploads == 0


def test_a_network_and_a_copy_of_it_train_as_on_the_cpu() -> None:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.ReLU(), torch.nn.Flatten()]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(72, 3))
    images, labels = torch.randn(8, 1, 8, 8), torch.arange(8) % 3
    with standin_device.parameters_on_the_device():
        there = copy.deepcopy(copy.deepcopy(network).to(NAME))
    for model, x, y in ((network, images, labels), (there, images.to(NAME), labels.to(NAME))):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    for own, other in zip(network.parameters(), there.parameters(), strict=True):
        assert isinstance(other, StandinTensor)
        assert torch.equal(own.detach(), other.detach().cpu())


PROBLEM = ulpm.Problem([4] * 3, feature_dim=5)


def flow(device: str, attempts: int) -> ulpm.Trajectory:
    start = PROBLEM.random_state(seed=0, device=device)
    return ulpm.gradient_flow(PROBLEM, start, log10_time=1e5, records=2, max_steps=attempts)


def counted(attempts: int) -> standin_device.Counts:
    with standin_device.count() as counts:
        flow(NAME, attempts)
    return counts


@dataclasses.dataclass(frozen=True)
class TablesOnTheCPU(ulpm.CrossEntropy):
    """Cross-entropy with a planted fault: a table that stays on the CPU enters the field."""

    def at(self, Z: Tensor, rows: Tensor) -> LossAt:
        found = super().at(Z, rows)
        return dataclasses.replace(found, residual=found.residual * torch.ones(Z.shape[-1], dtype=Z.dtype))


def test_a_cpu_tensor_in_the_field_is_refused() -> None:
    problem = ulpm.Problem([4] * 3, feature_dim=5, loss=TablesOnTheCPU())
    start = problem.random_state(seed=0)
    assert ulpm.gradient_flow(problem, start, log10_time=2, records=2).finished  # on the CPU nobody notices
    with pytest.raises(RuntimeError, match="standin:0 and cpu"):
        ulpm.gradient_flow(problem, start.to(NAME), log10_time=2, records=2)


def test_a_question_in_a_step_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = counted(8) - counted(4)
    rate = FlowSystem.rate

    def curious(self: FlowSystem, y: Tensor, out: Tensor) -> Tensor:
        log_loss = rate(self, y, out)
        assert log_loss[0].item() < 100
        return log_loss

    monkeypatch.setattr(FlowSystem, "rate", curious)
    faulty = counted(8) - counted(4)
    assert sound.waits == 4
    assert faulty.waits > sound.waits + 4


def test_a_transfer_in_an_iteration_of_conjugate_gradients_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = 32
    sound, products = counted(attempts), flow("cpu", attempts).stats["jacobian_products"]
    assert products > 10
    solve = ConjugateGradients.solve

    def with_transfers(self: ConjugateGradients, product: Callable[[Tensor, Tensor], None], *rest: object) -> object:
        def transferring(v: Tensor, out: Tensor) -> None:
            product(v.cpu().to(v.device), out)

        return solve(self, transferring, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(ConjugateGradients, "solve", with_transfers)
    faulty = counted(attempts)
    for kind in ("wait", "upload"):
        assert faulty.of(kind) - sound.of(kind) >= products
