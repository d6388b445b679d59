"""Make a small run with the installed textgen: python tests/runs/make_run.py FOLDER

It made the runs in `formats`, each with the last textgen that wrote the format. When the format
changes, make a run with the last version before the change.
"""

import json
import sys
from pathlib import Path

import textgen

TEXT = "The lamp saw the ferry.\nThe goose saw the storm, and the lamp.\n" * 12
OPTIONS = {"units": 6, "layers": 2, "embedding": 4, "batch_size": 2, "chunk_length": 8}
OPTIONS |= {"dropout": 0.0, "learning_rate": 0.03}


def main(folder: Path) -> None:
    book = Path("book.txt")
    book.write_text(TEXT, "utf-8")
    for level in ("char", "word"):
        options = OPTIONS | {"level": level, "precision": "float32", "tie": False, "epochs": 30}
        model = textgen.train(book, out=folder / level, quiet=True, **options)
        found = {
            "text": model.generate("The lamp", temperature=0, length=20),
            "loss": model.evaluate(TEXT).loss,
            "validation_loss": model.run.outcome()["validation_loss"],
        }
        (folder / level / ".lock").unlink(missing_ok=True)
        (folder / level / "expected.json").write_text(json.dumps(found))
    book.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
