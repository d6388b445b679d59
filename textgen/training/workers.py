"""The workers of distributed training: this process alone, or those that TF_CONFIG names."""

import json
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from textgen.errors import TrainingError
from textgen.system.terminal import counted

_Made = TypeVar("_Made")

_VARIABLE = "TF_CONFIG"
_ROLES = ("chief", "worker")  # in the order of their ranks


@dataclass(frozen=True)
class Cluster:
    """The addresses of all workers by rank, and the rank of this process."""

    addresses: tuple[str, ...] = ("",)  # HOST:PORT; a single worker needs none
    rank: int = 0


class Workers:
    """This process as one of the workers; in this base class, the only one.

    The first worker reads the books, evaluates and writes the run.
    """

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster()

    @property
    def several(self) -> bool:
        return len(self.cluster.addresses) > 1

    @property
    def is_first(self) -> bool:
        return self.cluster.rank == 0

    def rows(self, batch_size: int) -> slice:
        """Return this worker's rows of a batch, which are also its streams.

        Raises TrainingError if there are fewer rows than workers.
        """
        count, rank = len(self.cluster.addresses), self.cluster.rank
        if batch_size < count:
            raise TrainingError(
                f"{counted(batch_size, 'stream')} cannot be shared by {count} workers; raise "
                "--batch-size"
            )
        return slice(batch_size * rank // count, batch_size * (rank + 1) // count)

    def sum_parts(self, parts: Any) -> Any:
        """Add up lists of tensors over all workers, inside a graph.

        The tensors of each list returned add up to the sum over all workers.
        """
        return parts

    def sum_array(self, array: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up an array over all workers."""
        return array

    def meet(self) -> None:
        """Wait until all workers have called this."""

    def after_the_first(self, first: Callable[[], _Made], others: Callable[[], _Made]) -> _Made:
        """Call `first` in the first worker, and then `others` in the others."""
        return first()

    def watched(self) -> AbstractContextManager[None]:
        """Raise TrainingError if another worker ends too early."""
        return nullcontext()


def this_cluster() -> Cluster:
    """Return the cluster of TF_CONFIG; raise TrainingError if it is invalid."""
    text = os.environ.get(_VARIABLE)
    if not text:
        return Cluster()
    try:
        config = json.loads(text)
        roles, task = config["cluster"], config["task"]
        if strange := sorted(set(roles) - set(_ROLES)):
            raise ValueError(f"{strange[0]} is not a known role")
        ranks = [(role, i) for role in _ROLES for i in range(len(roles.get(role, [])))]
        addresses = tuple(roles[role][i] for role, i in ranks)
        if not all(map(_is_address, addresses)) or len(set(addresses)) < len(addresses):
            raise ValueError("the addresses are not distinct and of the form HOST:PORT")
        return Cluster(addresses, ranks.index((task["type"], int(task["index"]))))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TrainingError(
            f"{_VARIABLE} is invalid ({error!r}); "
            'give {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", '
            '"index": N}}'
        ) from None


def connect_workers(quiet: bool = True) -> Workers:
    """Return this process as the only worker, or connect it to those that TF_CONFIG names.

    Several workers need TensorFlow, and must connect before it computes anything. Raises
    TrainingError if they cannot connect.
    """
    cluster = this_cluster()
    if len(cluster.addresses) == 1:
        return Workers(cluster)
    from textgen.training.team import Team

    return Team(cluster, quiet)


def _is_address(text: Any) -> bool:
    match = re.fullmatch(r"(?:[^\s:]+|\[\S+\]):(\d{1,5})", text) if isinstance(text, str) else None
    return match is not None and 0 < int(match[1]) < 1 << 16
