"""Read and write the files of a run.

Writes are atomic, except for `write_at`: a file is written under a temporary name, flushed to
disk and renamed, so a reader finds either the old file or the new one. Files are checked before
they are used and before memory is allocated for them, because a run may come from a stranger.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from textgen.errors import RunError
from textgen.options.architecture import Shapes

Arrays = dict[str, NDArray[np.float32]]

NEW = ".new"
"""Suffix of a file or folder until it is complete and renamed."""

_LARGEST_WEIGHT = 1e6  # far above any trained weight; products of such weights do not overflow

# The readers of JSON, NumPy's format and safetensors raise these for a damaged file.
_DAMAGE = (
    *(ValueError, TypeError, KeyError, OverflowError, RecursionError),
    *(SyntaxError, TokenError, SafetensorError),
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise RunError if reading `path` fails."""
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ValueError("it is not a regular file")  # reading a pipe may never end
        yield
    except RunError:
        raise
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None
    except _DAMAGE as error:
        problem = " ".join(str(error)[:200].split())
        raise RunError(f"{path} is damaged: {problem}; restore it or train again") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise RunError if writing `path` fails."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write {path}: {error.strerror or error}; fix that, or choose another --out"
        ) from None


def write_file(path: Path, data: bytes) -> None:
    """Replace a file of a run by `replace_file`; raise RunError if that fails."""
    new = path.with_name(path.name + NEW)
    with writing(path):
        new.unlink(missing_ok=True)  # left by a process that was killed, or a link
        replace_file(path, data, new)


def replace_file(path: Path, data: bytes, new: Path) -> None:
    """Write a whole file as `new`, which does not exist, flush it to disk and rename it to `path`.

    Raises OSError if that fails.
    """
    try:
        with new.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        flush_folder(path.parent)
    finally:
        new.unlink(missing_ok=True)


def write_at(path: Path, data: bytes, size: int) -> int:
    """Truncate a file to `size` bytes and append `data`; return the new size.

    The write is not atomic, because the file may be long. Raises RunError if it is a link.
    """
    with writing(path), os.fdopen(_open_no_link(path), "ab") as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise OSError(errno.EMLINK, "it is a link to another file")
        size = min(size, file.tell())
        file.truncate(size)
        return size + file.write(data)


def write_arrays(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write arrays as safetensors."""
    write_file(path, save(arrays, metadata))


def read_arrays(
    path: Path, shapes: Shapes, metadata: dict[str, str], partial: bool = False
) -> tuple[Arrays, dict[str, str]]:
    """Return the float32 arrays of a safetensors file and its metadata.

    Args:
        shapes: the names and shapes that the arrays must have.
        metadata: the expected metadata; older runs may lack some entries.
        partial: whether some arrays may be missing.

    Raises RunError if the file is damaged or has other arrays.
    """
    with reading(path), safe_open(path, "numpy") as file:
        found_metadata = file.metadata() or {}
        for name, value in metadata.items():
            if found_metadata.get(name, value) != value:
                raise ValueError(f"it belongs to another {name}")
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        if set(found) != set(shapes) and not (partial and set(found) < set(shapes)):
            raise ValueError(f"{sorted(set(found) ^ set(shapes))[0]} is missing or unexpected")
        for name, part in found.items():
            if tuple(part.get_shape()) != shapes[name] or part.get_dtype() != "F32":
                raise ValueError(f"{name} is not float32 of shape {shapes[name]}")
        arrays = {name: file.get_tensor(name) for name in shapes if name in found}
        if not all((np.abs(array) < _LARGEST_WEIGHT).all() for array in arrays.values()):
            raise ValueError("it has numbers that are not finite, or far too large")
        return arrays, found_metadata


def flush_file(path: Path) -> None:
    """Flush the content of a file to disk."""
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Flush a folder to disk to make a rename durable, on systems that support it."""
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _open_no_link(path: Path) -> int:
    """Open a file to append to it, without following a link or waiting for a pipe's reader."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for name in ("O_NOFOLLOW", "O_NONBLOCK"):
        flags |= getattr(os, name, 0)
    return os.open(path, flags, 0o666)
