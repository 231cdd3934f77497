"""Metrics over comparisons, and the evaluation of a model."""
