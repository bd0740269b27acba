"""Is this point the optimum, how far is it at most, is it a KKT point, is it a saddle and which way down?"""

from ulpm.optimality.certificate import Certificate, certify, has_certificate
from ulpm.optimality.landscape import CriticalPoint, sphere_critical_point
from ulpm.optimality.layer_peeled import LayerPeeledOptimum, norm_constrained_optimum, regularised_optimum
from ulpm.optimality.optimum import Optimum, optimum
from ulpm.optimality.relaxation import Separation, minimum_norm_separation

__all__ = [
    "Certificate",
    "CriticalPoint",
    "LayerPeeledOptimum",
    "Optimum",
    "Separation",
    "certify",
    "has_certificate",
    "minimum_norm_separation",
    "norm_constrained_optimum",
    "optimum",
    "regularised_optimum",
    "sphere_critical_point",
]
