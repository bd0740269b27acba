"""The helpers of the core that are no public names of it and that the experiments share: the only place that knows."""

from ulpm import _checks as checks
from ulpm import _files as files
from ulpm._versions import versions
from ulpm.flow.interrupt import deferred_interrupt
from ulpm.starts import parse_class_counts

__all__ = ["checks", "deferred_interrupt", "files", "parse_class_counts", "versions"]
