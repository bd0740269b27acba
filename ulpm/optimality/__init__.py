"""Is this point the optimum, how far is it at most, is it a KKT point, is it a saddle and which way down?"""

from ulpm.optimality.certificate import Certificate, certify
from ulpm.optimality.landscape import CriticalPoint, sphere_critical_point
from ulpm.optimality.relaxation import Separation, minimum_norm_separation

__all__ = [
    "Certificate",
    "CriticalPoint",
    "Separation",
    "certify",
    "minimum_norm_separation",
    "sphere_critical_point",
]
