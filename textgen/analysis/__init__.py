"""Measure texts with a model: evaluation and novelty."""
