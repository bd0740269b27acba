"""What the model says of a network's future: its flow from the network's own features, on the network's clocks."""

from ulpm.forecasting.curves import CLOCKS, COMPARED, PAPER, Clock, Curve, flow_curve
from ulpm.forecasting.forecast import FlowForecast, Forecast, forecast, off_by, typical_factor
from ulpm.forecasting.model_flow import (
    ModelFlow,
    decay_with_mobility,
    measured_mobility,
    random_start,
    with_mobility,
)

__all__ = [
    "CLOCKS",
    "COMPARED",
    "PAPER",
    "Clock",
    "Curve",
    "FlowForecast",
    "Forecast",
    "ModelFlow",
    "decay_with_mobility",
    "flow_curve",
    "forecast",
    "measured_mobility",
    "off_by",
    "random_start",
    "typical_factor",
    "with_mobility",
]
