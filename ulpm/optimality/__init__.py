"""Is this point the optimum, how far is it at most, is it a KKT point, is it a saddle and which way down?"""

from ulpm.optimality.certificate import Certificate, certify
from ulpm.optimality.landscape import CriticalPoint, sphere_critical_point
from ulpm.optimality.layer_peeled import LayerPeeledOptimum, norm_constrained_optimum, regularised_optimum
from ulpm.optimality.relaxation import Separation, minimum_norm_separation

__all__ = [
    "Certificate",
    "CriticalPoint",
    "LayerPeeledOptimum",
    "Separation",
    "certify",
    "minimum_norm_separation",
    "norm_constrained_optimum",
    "regularised_optimum",
    "sphere_critical_point",
]
