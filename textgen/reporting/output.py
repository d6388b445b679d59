"""Write pictures and pages."""

from pathlib import Path
from secrets import token_hex

from textgen.errors import OutputError
from textgen.runs.files import replace_file


def check_output(path: str | Path, force: bool = False, source: str | Path | None = None) -> Path:
    """Return the path of a file to write; raise OutputError if it must not be written.

    `source` is the file that is read to make it, which must not be replaced.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")
    if path.exists():
        if not path.is_file():
            raise OutputError(f"{path} is not a regular file; name another file")
        if source is not None and Path(source).exists() and path.samefile(source):
            raise OutputError(f"{path} is the text that is read; name another file to write")
        if not force:
            raise OutputError(f"{path} exists; replace it with --force, or name another file")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent} for {path.name}; create it first")
    return path


def write_output(path: str | Path, data: bytes, force: bool = False) -> None:
    """Write a whole file under a temporary name and rename it.

    Raises OutputError if it cannot be written, or exists and `force` is not given.
    """
    path = check_output(path, force)
    new = path.with_name(f".textgen-{token_hex(8)}")  # no file of the user's has this name
    try:
        replace_file(path, data, new)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; fix that, or name another file"
        ) from None
