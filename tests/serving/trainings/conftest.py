"""Trainings that clients ask for."""

import sys
from pathlib import Path

import pytest
from fake_trainings import FAKE

from textgen.serving import process


@pytest.fixture
def _fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the command that trains, and read its files often."""
    path = tmp_path / "fake.py"
    path.write_text(FAKE)
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-S", str(path)))
    monkeypatch.setattr(process, "_STARTING_SECONDS", 0.2)
    monkeypatch.setattr("textgen.serving.events.POLL_SECONDS", 0.01)
