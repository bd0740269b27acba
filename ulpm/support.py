"""What programs built on the core share with it: argument guards, files replaced whole, versions, interrupts.

``checks`` and ``files`` are modules: guards that answer a mistake in one sentence, and files that are either the old
version or the whole new one.
"""

from ulpm import _checks as checks
from ulpm import _files as files
from ulpm._versions import versions
from ulpm.flow.interrupt import deferred_interrupt
from ulpm.metrics import METRICS
from ulpm.starts import parse_class_counts

__all__ = ["METRICS", "checks", "deferred_interrupt", "files", "parse_class_counts", "versions"]
