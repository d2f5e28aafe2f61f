"""Whole runs of a configuration: their data made ready, their results in tables."""
