"""Which workers train together, as the environment variable TF_CONFIG tells."""

import json
import os
import re
from dataclasses import dataclass
from typing import Any

from textgen.errors import TrainingError

_VARIABLE = "TF_CONFIG"
_ROLES = ("chief", "worker")  # in the order of their ranks


@dataclass(frozen=True)
class Cluster:
    """The workers by rank, and which of them this process is; the first one writes the run."""

    addresses: tuple[str, ...]  # host:port
    rank: int

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch, and with them the streams, that are this worker's."""
        count = len(self.addresses)
        if batch_size < count:
            raise TrainingError(
                f"{batch_size} streams are too few for {count} workers; raise --batch-size"
            )
        return slice(batch_size * self.rank // count, batch_size * (self.rank + 1) // count)


def cluster() -> Cluster:
    """Read TF_CONFIG; without it this process is the only worker.

    Raises TrainingError where the variable makes no sense.
    """
    text = os.environ.get(_VARIABLE)
    if not text:
        return Cluster(("",), 0)
    try:
        config = json.loads(text)
        roles, task = config["cluster"], config["task"]
        if strange := sorted(set(roles) - set(_ROLES)):
            raise ValueError(f"{strange[0]} is a role that textgen does not know")
        ranks = [(role, i) for role in _ROLES for i in range(len(roles.get(role, [])))]
        addresses = tuple(roles[role][i] for role, i in ranks)
        if not all(map(_is_address, addresses)) or len(set(addresses)) < len(addresses):
            raise ValueError("the addresses are not distinct ones of the form HOST:PORT")
        return Cluster(addresses, ranks.index((task["type"], int(task["index"]))))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise TrainingError(
            f"{_VARIABLE} does not name the workers and which of them this is ({error!r}); "
            'give {"cluster": {"worker": ["HOST:PORT", ...]}, "task": {"type": "worker", '
            '"index": N}}'
        ) from None


def _is_address(text: Any) -> bool:
    match = re.fullmatch(r"(?:[^\s:]+|\[\S+\]):(\d{1,5})", text) if isinstance(text, str) else None
    return match is not None and 0 < int(match[1]) < 1 << 16
