"""Runs, judges and reports the experiments. An experiment imports only ``claim`` and ``work``."""
