"""Stage 2: from ids to weights. The only part of textgen that imports TensorFlow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _quiet() -> Iterator[None]:
    """Send what the process writes to standard error to nowhere.

    TensorFlow's C++ side greets with several lines before it heeds any setting.
    """
    try:
        stderr = os.dup(2)
    except OSError:  # closed: nothing to keep quiet
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
os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever else a user's settings say
with _quiet():
    import tensorflow  # noqa: F401
