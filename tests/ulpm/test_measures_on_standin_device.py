"""What is computed of a state, or of a network, on a device has the bits of the CPU, and is where the state is."""

import dataclasses

import pytest
import torch
from both_devices import on_both, state_on
from standin_device import NAME, parameters_on_the_device

import ulpm
from ulpm.demo.scenarios import flow_scenario
from ulpm.demo.starts import own_start

PROBLEM = ulpm.Problem([5, 4, 3], feature_dim=4)


def state(device: str, problem: ulpm.Problem = PROBLEM, **how: object) -> ulpm.State:
    return problem.random_state(seed=0, device=device, **how)  # type: ignore[arg-type]


PROVEN = {
    "margin problem": PROBLEM,
    "bias": ulpm.Problem([3] * 3, 4, bias=True),
    "decay": ulpm.Problem([3] * 3, 4, weight_decay=(0.1, 0.1)),
    "label smoothing": ulpm.Problem([3] * 3, 4, loss=ulpm.CrossEntropy(label_smoothing=0.1)),
}


@pytest.mark.parametrize("replicas", [None, 2])
@pytest.mark.parametrize("name", PROVEN)
def test_certificates(name: str, replicas: int | None) -> None:
    found = on_both(lambda device: ulpm.certify(PROVEN[name], state(device, PROVEN[name], replicas=replicas)))
    assert found.stationarity.device.type == NAME


def test_critical_points_of_the_sphere() -> None:
    problem = ulpm.Problem([2] * 4, feature_dim=4)
    square, random = ulpm.block_state(problem, norm=3.0), problem.random_state(seed=0)
    found = on_both(lambda device: ulpm.sphere_critical_point(problem, state_on(device, square)))
    assert found.kind == "strict_saddle"
    assert found.direction.W.device.type == NAME
    on_both(lambda device: ulpm.sphere_critical_point(problem, state_on(device, random)))


def test_minimisers_are_starts_on_the_device() -> None:
    decayed = PROVEN["decay"]
    minimisers = (PROBLEM, ulpm.minimum_norm_separation(PROBLEM).state), (decayed, ulpm.optimum(decayed).state)
    for problem, minimiser in minimisers:
        assert minimiser is not None
        on_both(lambda device, p=problem, m=minimiser: ulpm.certify(p, state_on(device, m)))
        on_both(lambda device, p=problem, m=minimiser: (ulpm.log_loss(p, m.to(device)), ulpm.margin(p, m.to(device))))


@pytest.mark.parametrize("replicas", [None, 2])
def test_metrics_of_a_state(replicas: int | None) -> None:
    bias = torch.linspace(-1, 1, 3, dtype=torch.float64)

    def metrics(device: str) -> list[dict[str, torch.Tensor]]:
        at, labels = state(device, replicas=replicas), PROBLEM.labels.to(device)
        one_label_tensor_on_the_host = ulpm.neural_collapse(at.W, at.H, PROBLEM.labels)
        plain = [
            ulpm.neural_collapse(at.W, at.H, labels, bias.to(device), center=center)
            for center in ("classes", "samples")
        ]
        return [one_label_tensor_on_the_host, *plain, ulpm.neural_collapse(at.W.float(), at.H.float(), labels)]

    assert on_both(metrics)[0]["nc1_pinv"].device.type == NAME


def test_metrics_of_moments() -> None:
    def metrics(device: str) -> list[dict[str, torch.Tensor]]:
        at = state(device)
        parts = [ulpm.ClassMoments(3, 4, device=device) for _ in range(2)]
        for moments, rows in zip(parts, (slice(0, 7), slice(7, None)), strict=True):
            moments.update(at.H.T[rows], PROBLEM.labels[rows].to(device))
        parts[0].merge(parts[1])
        about_others = ulpm.ClassMoments(3, 4, device=device, means=parts[0].class_means())
        about_others.update(state(device, scale=2.0).H.T.float(), PROBLEM.labels)
        return [ulpm.neural_collapse_from_moments(moments, at.W) for moments in (parts[0], about_others)]

    on_both(metrics)


def test_states_from_features() -> None:
    features = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 3

    def built(device: str) -> list[object]:
        here = features.to(device)
        drawn = ulpm.from_features(here, labels.to(device), seed=1)
        given = ulpm.from_features(here, labels, classifier=torch.ones(3, 4, device=device))
        return [drawn, given]

    (_, drawn), (_, given) = on_both(built)
    assert drawn.W.device.type == given.H.device.type == NAME


def network(device: str) -> torch.nn.Module:
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2)]
    with parameters_on_the_device():
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(16, 3)).to(device)


def test_networks_are_measured_where_they_are() -> None:
    generator = torch.Generator().manual_seed(0)
    batches = [(torch.randn(6, 1, 6, 6, generator=generator), torch.arange(6) % 3) for _ in range(3)]
    on_both(lambda device: ulpm.measure(network(device), batches, corrected=True))
    moved = [(inputs.to(NAME), labels.to(NAME)) for inputs, labels in batches]
    on_both(lambda device: ulpm.measure(network(device), batches if device == "cpu" else moved))

    def probed(device: str) -> list[torch.Tensor]:
        model = network(device)
        with ulpm.probe(model) as seen:
            model(batches[0][0].to(device))
        return [seen.features, seen.logits, seen.classifier, seen.bias]

    assert all(part.device.type == NAME for part in on_both(probed))


def test_data_of_the_demonstration() -> None:
    def scenario(device: str) -> object:
        made = own_start(ulpm.Problem([2] * 3, feature_dim=3), seed=0)
        there = dataclasses.replace(made, state=state_on(device, made.state))
        return flow_scenario(there, log10_time=1.0, frames=4)

    on_both(scenario)
