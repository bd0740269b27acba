"""The paper verified numerically: each theorem as claims with bounds, reasons and verdicts, and as a figure."""

# Import this before matplotlib, whose import fails if MPLBACKEND names a backend that is not installed.
import ulpm.plotting as _plotting  # noqa: F401
