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
from textgen.training.progress import Reporter

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

    def __init__(self, cluster: Cluster, quiet: bool = True) -> None:
        """Wait for the others; raise TrainingError where they cannot be met."""
        self.alone = len(cluster.addresses) == 1
        self.is_first = cluster.is_first
        self.rows = cluster.rows
        self._strategy: tf.distribute.Strategy | None = None
        if not self.alone:
            own = cluster.addresses[cluster.rank]
            note = f"worker {cluster.rank} of {len(cluster.addresses)} at {own} meets the others"
            with Reporter(quiet, 0.0) as reporter:
                reporter.note(note)
            # One GPU for each worker: a machine with several of them runs several workers.
            tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:1], "GPU")
            resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
                tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
                task_type="worker",
                task_id=cluster.rank,
                rpc_layer="grpc",
            )
            try:
                with _mortal():
                    self._strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
            except (RuntimeError, ValueError, tf.errors.OpError) as error:
                reason = str(error).splitlines()[0]
                raise TrainingError(
                    f"worker {cluster.rank} cannot join the others: {reason}"
                ) from None
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
                with _mortal():
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


@contextmanager
def _mortal() -> Iterator[None]:
    """Let signals end the process at once, while it waits and has nothing to save.

    Python's own handlers would not run before the waiting is over; and TensorFlow, when it meets
    the others, puts a handler of SIGTERM in their place that heeds nothing.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    if threading.current_thread() is not threading.main_thread():
        handled = {}
    for number in handled:
        signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
