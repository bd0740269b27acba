"""What runs, judges and reports the experiments. ``claim`` and ``work`` are what an experiment is written with."""
