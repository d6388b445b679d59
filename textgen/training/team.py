"""Distributed training: each worker computes some rows of every batch and keeps their state.

Workers exchange sums: of gradients and losses at every step, of the orders of the first worker,
and of the states of all rows when they are saved.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from textgen.errors import TrainingError
from textgen.system.signals import default_signals
from textgen.training.backend import tf
from textgen.training.progress import Reporter
from textgen.training.workers import Cluster, Workers

_Outcome = TypeVar("_Outcome")

# What TensorFlow's collectives raise when another worker no longer answers.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Team(Workers):
    """This process, connected with the others of its cluster."""

    def __init__(self, cluster: Cluster, quiet: bool = True) -> None:
        """Wait for the others; raise TrainingError if they cannot be reached."""
        super().__init__(cluster)
        addresses, rank = list(cluster.addresses), cluster.rank
        with Reporter(quiet, 0.0) as reporter:
            reporter.note(
                f"worker {rank} of {len(addresses)} at {addresses[rank]} waits for the others"
            )
        # Each worker uses one GPU; a machine with several GPUs runs several workers.
        tf.config.set_visible_devices(tf.config.list_physical_devices("GPU")[:1], "GPU")
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": addresses}),
            task_type="worker",
            task_id=rank,
            rpc_layer="grpc",
        )
        try:
            with default_signals():
                self._strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
        except (RuntimeError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise TrainingError(f"worker {rank} cannot connect to the others: {reason}") from None
        self._sum_tensor = tf.function(self._sum, autograph=False)

    def sum_parts(self, parts: Any) -> Any:
        names = list(parts)
        sums = self._sum([tf.add_n(parts[name]) for name in names])
        return {name: [total] for name, total in zip(names, sums, strict=True)}

    def sum_array(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._sum_tensor([tf.constant(array)])[0].numpy()

    def meet(self) -> None:
        self.sum_array(np.zeros(1))

    def after_the_first(
        self, first: Callable[[], _Outcome], others: Callable[[], _Outcome]
    ) -> _Outcome:
        with self.watched():
            if self.is_first:
                outcome = first()
                self.meet()
                return outcome
            with default_signals():
                self.meet()
            return others()

    @contextmanager
    def watched(self) -> Iterator[None]:
        try:
            yield
        except _LOST:
            raise TrainingError(
                "another worker has ended; start all workers again with --resume to continue "
                "from the last checkpoint"
            ) from None

    def _sum(self, values: list[Any]) -> list[Any]:
        """Add up tensors over all workers, all of which must call this."""

        def reduce(values: list[Any]) -> list[Any]:
            # The identity places them on the device that the reduction expects.
            values = [tf.identity(value) for value in values]
            context = tf.distribute.get_replica_context()
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values)

        return self._strategy.run(reduce, args=(values,))
