"""TensorFlow and Keras, imported without the messages they print at start-up."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Discard what the process writes to standard error.

    TensorFlow's C++ code prints several lines before it reads any setting.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"  # overrides the user's Keras configuration
with _no_stderr():
    import keras
    import tensorflow as tf

__all__ = ["keras", "tf"]
