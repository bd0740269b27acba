"""The paper verified numerically: each theorem as claims with bounds, reasons and verdicts, and as a figure."""

# Before matplotlib itself, which cannot be imported where MPLBACKEND names a backend that is not installed.
import ulpm.plotting as _plotting  # noqa: F401
