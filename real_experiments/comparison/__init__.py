"""A trained network compared with the model: the same metrics on common clocks, with slopes and forecasts."""
