"""Stage 2: from ids to weights.

TensorFlow is imported through `textgen.training.backend` alone.
"""
