"""Stage 2: from ids to weights.

Only `textgen.training.backend` imports TensorFlow.
"""
