"""The scenario of a real network: a small file, made of a training run by python -m real_experiments.demo_network."""

import importlib.resources
import json
import math

import numpy as np
import torch

from ulpm.demo.clock import epochs
from ulpm.demo.curves import bounds_panel, loss_panel, metrics_panel
from ulpm.demo.scenario import Scenario
from ulpm.demo.view import Scene
from ulpm.sample import first_images

__all__ = ["network_scenario"]


def network_scenario() -> Scenario:
    """Last-layer features and classifier of a network while it trained, at the epochs of its snapshots.

    The file has, for S snapshots on three fixed axes, ``rows`` and ``means`` [S, K, 3], ``features`` [S, M, 3] with
    ``feature_classes`` [M], ``target`` [K, 3], ``epochs`` [S], a column [S] a measured quantity, and ``about``, JSON
    with the words that say which run it was.
    """
    resource = importlib.resources.files("ulpm") / "data" / "demo_network.npz"
    with resource.open("rb") as file, np.load(file, allow_pickle=False) as found:
        arrays = {name: torch.from_numpy(found[name]) for name in found.files if name != "about"}
        about = json.loads(str(found["about"]))
    arrays = {name: array.double() if array.is_floating_point() else array for name, array in arrays.items()}
    K = arrays["rows"].shape[1]
    value = (K - 1) * math.sqrt(about["samples_of_a_class"])
    return Scenario(
        key="network",
        title="Network",
        caption=about["caption"],
        facts=about["facts"],
        class_names=tuple(about["class_names"]),
        scene=Scene(
            rows=arrays["rows"],
            means=arrays["means"],
            features=arrays["features"],
            feature_classes=arrays["feature_classes"],
            target_rows=arrays["target"],
            target_means=arrays["target"],
            edges=tuple((j, k) for j in range(K) for k in range(j + 1, K)),
        ),
        target_name="regular simplex",
        clock=epochs(arrays["epochs"].tolist()),
        panels=(
            metrics_panel({name: array for name, array in arrays.items() if name.startswith("nc")}),
            loss_panel(
                arrays["train_loss"].log10(),
                "Training loss, mean over images; share of wrong ones",
                name="mean loss",
                error=arrays["train_error"],
            ),
            bounds_panel(
                arrays["certificate_lower_bound"],
                arrays["certificate_nuclear_upper_bound"],
                (value, f"v* = {value:.5g}"),
                logarithmic=True,
            ),
        ),
        pictures=first_images(),
    )
