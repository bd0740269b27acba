"""Features of any network, from files of any size, and what the metrics of neural collapse say of them."""

from ulpm.features.features import Features
from ulpm.features.loading import load_features
from ulpm.features.report import CollapseReport
from ulpm.features.verdict import verdict

__all__ = ["CollapseReport", "Features", "load_features", "verdict"]
