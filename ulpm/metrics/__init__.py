"""Neural-collapse metrics: of a classifier and features, of streamed class moments, of any torch network."""

from ulpm.metrics.collapse import neural_collapse, neural_collapse_from_moments
from ulpm.metrics.few_samples import few_sample_nc1
from ulpm.metrics.floors import precision_floors
from ulpm.metrics.generalised import GeneralisedCollapse, generalised_collapse
from ulpm.metrics.margins import class_margins
from ulpm.metrics.measure import measure
from ulpm.metrics.metric import Metric
from ulpm.metrics.moments import ClassMoments, ClassStatistics
from ulpm.metrics.outside import out_of_distribution
from ulpm.metrics.per_class import ClassSummary, class_summary
from ulpm.metrics.probe import Probe, probe
from ulpm.metrics.rank import feature_rank
from ulpm.metrics.records import METRICS, RECORDS
from ulpm.metrics.regression import regression_collapse
from ulpm.metrics.unrounded import unrounded_nc1

__all__ = [
    "METRICS",
    "RECORDS",
    "ClassMoments",
    "ClassStatistics",
    "ClassSummary",
    "GeneralisedCollapse",
    "Metric",
    "Probe",
    "class_margins",
    "class_summary",
    "feature_rank",
    "few_sample_nc1",
    "generalised_collapse",
    "measure",
    "neural_collapse",
    "neural_collapse_from_moments",
    "out_of_distribution",
    "precision_floors",
    "probe",
    "regression_collapse",
    "unrounded_nc1",
]
