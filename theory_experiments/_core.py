"""The helpers of the core that are no public names of it and that the harness uses: the only place that knows."""

from ulpm import _checks as checks
from ulpm import _files as files
from ulpm._versions import versions
from ulpm.plotting import save_figure

__all__ = ["checks", "files", "save_figure", "versions"]
