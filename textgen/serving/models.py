"""The models that are served: found by name, loaded when asked for, and followed."""

import asyncio
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from anyio import to_thread

from textgen.errors import RunError
from textgen.runs.folder import CONFIG, MODEL, TOKENIZER, Run
from textgen.sampling.sampler import Sampler
from textgen.serving.refusals import RequestError
from textgen.serving.turns import Turns

_LOADED = 16  # models in memory; the one used last stays longest
_TRIES = 3  # to load a run that another process replaces meanwhile
_PAUSE = 0.05  # seconds between them

Signature = tuple[tuple[int, int, int] | None, ...]
"""What `signature_of` returns."""


class ServedModel:
    """A loaded run. Texts that are begun with it are finished with it."""

    def __init__(self, name: str, path: Path, signature: Signature) -> None:
        """Load a run; raise RunError if it is damaged or has no weights."""
        self.name = name
        self._path = path
        self._weights = signature[-1]
        run = Run.open(path)
        weights = run.weights()
        self.sampler = Sampler([run], [weights])
        # In this thread, because it takes long: packing the weights, importing NLTK for words.
        _ = self.sampler.fast_network
        self.sampler.tokenizer.encode_known("a b")
        self.key = secrets.token_bytes(16)  # tells its states from those of other models
        self.comparing = Turns()  # for making guards, which takes memory
        digest = hashlib.blake2b(digest_size=8)
        for _, array in sorted(weights.items()):
            digest.update(array.tobytes())
        self.fingerprint = f"fp_{digest.hexdigest()}"

    @property
    def is_current(self) -> bool:
        """Whether its weights are those saved last. What replaces a run replaces them, too."""
        return signature_of(self._path, MODEL)[0] == self._weights


class Models:
    """Runs by the name of their folder."""

    def __init__(self, runs: Sequence[Path], folder: Path | None) -> None:
        """Serve `runs`, and all runs under `folder` if given, even those that come later.

        Raises RunError if two runs have the same name, or if a run cannot be read.
        """
        self._folder = folder
        self._runs: dict[str, Path] = {}
        for run in runs:
            Run.open(run)
            name = run.resolve().name
            if name in self._runs:
                raise RunError(f"two runs have the name {name}; rename the folder of one")
            self._runs[name] = run
        self._loaded: OrderedDict[str, ServedModel] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    def saved(self) -> list[tuple[str, float]]:
        """Return the names of all runs with weights and when these were saved, the last first."""
        found = [(name, time) for name, path in self.folders().items() if (time := saved_at(path))]
        return sorted(found, key=lambda run: -run[1])

    def newest_name(self) -> str:
        """Return the name of the run whose weights were saved last.

        Raises RequestError if there is none.
        """
        name = next((name for name, _ in self.saved()), None)
        if name is None:
            raise RequestError(404, "there is no model yet", code="model_not_found")
        return name

    def path(self, name: str) -> Path:
        """Return the folder of a run with weights; raise RequestError if there is none so named."""
        path = self.folders().get(name)
        if path is None or not saved_at(path):
            raise RequestError(
                404,
                f"there is no model {name!r}; GET /v1/models lists those there are",
                param="model",
                code="model_not_found",
            )
        return path

    async def get(self, name: str | None = None) -> ServedModel:
        """Return a model with the weights saved last, by default that of the newest run.

        Raises RequestError if there is no such model, or if its run is damaged.
        """
        name = self.newest_name() if name is None else name
        model = self._loaded.get(name)
        if model is None or not model.is_current:
            path = self.path(name)
            async with self._locks.setdefault(name, asyncio.Lock()):
                model = self._loaded.get(name)
                if model is None or not model.is_current:
                    model = self._loaded[name] = await _load_model(name, path)
        self._loaded.move_to_end(name)
        while len(self._loaded) > _LOADED:
            self._loaded.popitem(last=False)
        return model

    def folders(self) -> dict[str, Path]:
        """Return the folders of all runs by their names, even of those without weights."""
        if self._folder is None:
            return self._runs
        found = {path.parent.name: path.parent for path in self._folder.glob(f"*/{CONFIG}")}
        usual = {name for name in found if name.isprintable() and not name.startswith(".")}
        return {name: found[name] for name in usual} | self._runs


def saved_at(run: Path) -> float | None:
    """Return when the weights of a run were saved, in seconds since 1970; None if it has none."""
    try:
        return (run / MODEL).stat().st_mtime
    except OSError:
        return None


async def _load_model(name: str, path: Path) -> ServedModel:
    """Load a run. Another process may replace it meanwhile, so try again if it changed."""
    for rest in reversed(range(_TRIES)):
        signature = _files_of(path)
        try:
            return await to_thread.run_sync(ServedModel, name, path, signature)
        except (RunError, OSError) as error:
            if not rest or (None not in signature and signature == _files_of(path)):
                message = str(error).replace(str(path), name)
                raise RequestError(404, message, param="model", code="model_unavailable") from None
        await asyncio.sleep(_PAUSE)
    raise AssertionError("the last try returns or raises")


def _files_of(path: Path) -> Signature:
    return signature_of(path, CONFIG, TOKENIZER, MODEL)


def signature_of(run: Path, *names: str) -> Signature:
    """Return what changes when a file of these names is replaced."""
    found = list[tuple[int, int, int] | None]()
    for name in names:
        try:
            status = (run / name).stat()
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)
