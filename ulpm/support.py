"""What programs built on the core share with it: guards, whole files, versions, interrupts, processes and laws.

``checks`` and ``files`` are modules: guards that answer a mistake in one sentence, and files that are either the old
version or the whole new one.
"""

from ulpm import _checks as checks
from ulpm import _files as files
from ulpm._modes import evaluation_mode
from ulpm._streams import in_any_terminal, wide_enough
from ulpm._versions import versions
from ulpm.distributed import Shard
from ulpm.flow.interrupt import Interrupted, deferred_interrupt, signals_as_interrupts
from ulpm.flow.progress import fitting_progress
from ulpm.laws import law_exponent, law_exponents
from ulpm.metrics import METRICS
from ulpm.starts import parse_class_counts

__all__ = [
    "METRICS",
    "Interrupted",
    "Shard",
    "checks",
    "deferred_interrupt",
    "evaluation_mode",
    "files",
    "fitting_progress",
    "in_any_terminal",
    "law_exponent",
    "law_exponents",
    "parse_class_counts",
    "signals_as_interrupts",
    "versions",
    "wide_enough",
]
