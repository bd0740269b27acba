"""The paper verified numerically: each theorem as claims with bounds, reasons and verdicts, and as a figure."""
