"""Neural collapse while a network trains: a monitor for any training loop, and for Lightning, Hugging Face and others.

The adapters import their libraries when they are used, not before.
"""

from ulpm.monitor.monitor import Monitor
from ulpm.monitor.table import Table

__all__ = ["Monitor", "Table"]
