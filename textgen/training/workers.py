"""Several machines that train one network: each has rows of every batch, and their state.

What crosses between them are sums: of gradients and losses at every step, of what the first
worker orders the others to do, and, to save it, of the state that each has of its own rows.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from textgen.cluster import Cluster
from textgen.errors import TrainingError

_Nest = TypeVar("_Nest")
_Result = TypeVar("_Result")

# What TensorFlow's collectives raise when a worker does not answer any more.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers:
    """This process among those of its cluster; made before TensorFlow computes anything."""

    def __init__(self, cluster: Cluster) -> None:
        """Wait for the others; raise TrainingError where they cannot be met."""
        self.alone = len(cluster.addresses) == 1
        self.is_first = cluster.is_first
        self.rows = cluster.rows
        self._strategy: tf.distribute.Strategy | None = None
        if not self.alone:
            # One GPU for each worker: a machine with several of them runs several workers.
            tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:1], "GPU")
            before = signal.getsignal(signal.SIGTERM)
            try:
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
            except (RuntimeError, ValueError, tf.errors.OpError) as error:
                reason = str(error).splitlines()[0]
                raise TrainingError(
                    f"worker {cluster.rank} cannot join the others: {reason}"
                ) from None
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # TensorFlow would swallow it from now on
        self._sum_arrays = tf.function(self.sum)

    def sum(self, values: _Nest) -> _Nest:
        """Add up tensors over all workers, inside a graph; all of them must come to it."""
        if self._strategy is None:
            return values

        def reduce(values: _Nest) -> _Nest:
            # The identity gives them the device that the reduction asks for.
            values = tf.nest.map_structure(tf.identity, values)
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        return self._strategy.run(reduce, args=(values,))

    def sum_array(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up an array over all workers."""
        return array if self._strategy is None else self._sum_arrays(tf.constant(array)).numpy()

    def meet(self) -> None:
        """Go on when all workers have come here."""
        self.sum_array(np.zeros(1))

    def after_the_first(self, do: Callable[[], _Result]) -> _Result:
        """Do something when the first worker has done it."""
        with self.watched():
            if not self.is_first:
                self.meet()
            result = do()
            if self.is_first:
                self.meet()
            return result

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Raise TrainingError where another worker ends before its time."""
        try:
            yield
        except _LOST:
            if self._strategy is None:
                raise
            raise TrainingError(
                "another worker has ended; the run stays as it was last saved, go on by "
                "starting all workers again with --resume"
            ) from None
