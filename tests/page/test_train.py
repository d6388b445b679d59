"""The view Learn in a browser: trainings that begin on the page."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import fabricate, make_book, save_random_weights
from learning import make_run

from textgen.serving import process

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

# "Trains" as the lines of the text say, with the runs that lie in the folder `made` beside it.
FAKE = r"""
import json, os, shutil, signal, sys, time
from pathlib import Path

_, _, _, command, book, out, *flags = sys.argv[1:]
out = Path(out.removeprefix("--out="))
signals = out.parent.parent
(signals / f"{out.name}.flags").write_text(json.dumps(flags))
signal.signal(signal.SIGINT, lambda *_: os._exit(130))

def evaluate(number):
    shutil.copy(signals / f"made{number}" / "model.safetensors", out)
    line = {"step": number, "epoch": float(number), "seconds": 10.0 * number}
    line |= {"loss": 3 - number / 4, "validation_loss": 2.875 - number / 4}
    line["bits_per_character"] = 4 - number / 4
    line["tokens_per_second"] = 100.0
    with (out / "samples.txt").open("a") as file:
        file.write(f"epoch {number:.2f}, loss 2.500\n\nPreview {number}.\n\n")
    with (out / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")

for line in Path(book).read_text("latin-1").splitlines():
    word, _, rest = line.partition(" ")
    if word == "begin":
        out.mkdir()
        for name in ("config.json", "tokenizer.json"):
            shutil.copy(signals / "made1" / name, out)
    elif word == "evaluate":
        evaluate(int(rest))
    elif word == "wait":  # for a file of this name
        while not (signals / rest).exists():
            time.sleep(0.01)
    elif word == "error":
        sys.exit(f"Error: {rest}")
"""

BOOK = "begin\nevaluate 1\nwait second\nevaluate 2\nwait end\n"


@pytest.fixture
def _fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the command that trains, and read its files often."""
    (tmp_path / "fake.py").write_text(FAKE)
    (tmp_path / "made.txt").write_text(make_book())
    for number in (1, 2):
        made = fabricate(tmp_path / f"made{number}", tmp_path / "made.txt", minutes=5, epochs=99)
        save_random_weights(made, number)
    monkeypatch.setattr(process, "COMMAND", (sys.executable, "-S", str(tmp_path / "fake.py")))
    monkeypatch.setattr(process, "_STARTING_SECONDS", 0.2)
    monkeypatch.setattr("textgen.serving.events.POLL_SECONDS", 0.02)


fake = pytest.mark.usefixtures("_fake")


def choose(page: Page, name: str, content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode()
    page.set_input_files(
        "input[type=file]", {"name": name, "mimeType": "text/plain", "buffer": data}
    )


def begin(page: Page) -> None:
    page.get_by_role("button", name="Begin").click()


@fake
def test_a_text_is_trained_on_and_seen_to_learn(
    page: Page, learn: Callable[..., None], runs: Path, tmp_path: Path
) -> None:
    make_run(runs / "L-ete-2", [3.0])
    learn(train=True)
    choose(page, "L’été 2.txt", BOOK)
    expect(page.get_by_text(f"{len(BOOK)} characters")).to_be_visible()
    expect(page.get_by_label("Name of the run")).to_have_value("L-ete-2-2")
    page.get_by_label("15", exact=True).check()
    page.get_by_label("Bytes").check()
    expect(page.get_by_text("It learns for 15 minutes")).to_be_visible()
    begin(page)
    expect(page.get_by_role("heading", name="L-ete-2-2")).to_be_focused()
    expect(page.get_by_text("Preview 1.")).to_be_visible()
    flags = json.loads((tmp_path / "L-ete-2-2.flags").read_text())
    assert set(flags) == {"--quiet", "--minutes=15.0", "--level=byte"}
    expect(page.get_by_role("progressbar", name="Training")).to_be_visible()
    expect(page.get_by_text(re.compile(r"of about 5 min; 4 min \d+ s left"))).to_be_visible()
    expect(page.get_by_role("link", name="Write with it")).to_be_visible()

    page.get_by_label("Give a beginning").fill("The ß")
    page.get_by_role("button", name="Write", exact=True).click()
    expect(page.locator("#beginning-problem")).to_contain_text("ß")
    page.get_by_label("Give a beginning").fill("The lamp")
    page.get_by_role("button", name="Write", exact=True).click()
    written = page.get_by_role("region", name="One beginning").locator("li")
    expect(written).to_have_count(1)
    first = written.inner_text()
    assert "after 10 s, epoch 1.00, validation loss 2.625" in first
    (tmp_path / "second").touch()
    expect(written).to_have_count(2)
    expect(written.nth(0)).to_contain_text("after 20 s, epoch 2.00")
    assert written.nth(1).inner_text() == first
    assert all("The lamp" in text for text in written.all_inner_texts())
    expect(page.locator(".details [role=status]")).to_have_text(re.compile("after 20 s"))

    page.get_by_role("button", name="Stop and keep").click()
    expect(page.locator(".details .state")).to_have_text("stopped")
    assert (runs / "L-ete-2-2" / "model.safetensors").exists()
    page.get_by_role("button", name="Train on another text").click()
    expect(page.get_by_text("Drop a text file here")).to_be_visible()
    page.get_by_role("link", name="Write with it").click()
    expect(page.get_by_role("combobox", name="Model")).to_have_value("L-ete-2-2")
    page.go_back()
    expect(written).to_have_count(2)


@fake
def test_trainings_wait_for_their_turn(
    page: Page, learn: Callable[..., None], runs: Path, tmp_path: Path
) -> None:
    learn(train=True)
    choose(page, "first.txt", BOOK)
    begin(page)
    expect(page.get_by_text("Preview 1.")).to_be_visible()
    page.get_by_role("button", name="Train on another text").click()
    choose(page, "second.txt", "begin\nevaluate 1\n")
    expect(page.get_by_text("It waits for first first.")).to_be_visible()
    begin(page)
    expect(page.get_by_text("It waits for the training before it.")).to_be_visible()
    page.get_by_role("button", name="Train on another text").click()
    choose(page, "third.txt", "begin\nevaluate 1\n")
    begin(page)
    expect(page.get_by_text("It waits for the 2 trainings before it.")).to_be_visible()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("It was stopped before it had learned anything.")).to_be_visible()
    page.get_by_role("link", name="second").click()
    for name in ("second", "end"):
        (tmp_path / name).touch()
    expect(page.locator(".details .state")).to_have_text("trained")
    expect(page.locator(".runs tbody tr", has_text="trained")).to_have_count(2)


@fake
def test_errors_stand_at_their_fields_and_the_text_is_kept(
    page: Page, learn: Callable[..., None], runs: Path
) -> None:
    make_run(runs / "taken", [3.0])
    learn(train=True, max_trainings=0)
    choose(page, "book.txt", "error the training part, 3 of 4 tokens, is too short for 1 stream")
    name = page.get_by_label("Name of the run")
    for wrong, words in (("Taken", "There is a run named Taken"), ("a b", "A name has"), ("", "")):
        name.fill(wrong)
        begin(page)
        expect(name).to_be_focused()
        expect(name).to_have_attribute("aria-invalid", "true")
        expect(page.locator("#name-problem")).to_contain_text(words)
    name.fill("short")
    page.get_by_label("another number").check()
    page.get_by_label("Minutes", exact=True).fill("0")
    begin(page)
    expect(page.locator("#minutes-problem")).to_contain_text("above 0")
    page.get_by_label("Minutes", exact=True).fill("1e300")
    begin(page)
    expect(page.locator("#minutes-problem")).to_contain_text("Minutes must be a number")
    page.get_by_label("Minutes", exact=True).fill("0.5")
    begin(page)
    expect(page.locator("#text-problem")).to_contain_text("short is too short to learn from")
    expect(page.get_by_text("book.txt")).to_be_visible()

    choose(page, "long.txt", BOOK)
    name.fill("long")
    begin(page)
    expect(page.get_by_text("Preview 1.")).to_be_visible()
    page.get_by_role("button", name="Train on another text").click()
    choose(page, "more.txt", BOOK)
    begin(page)
    expect(page.get_by_text("The server has too many trainings to do.")).to_be_visible()
    expect(page.get_by_text("more.txt")).to_be_visible()


@fake
def test_a_text_is_dropped_or_pasted(
    page: Page, learn: Callable[..., None], runs: Path, tmp_path: Path
) -> None:
    learn(train=True)
    name = page.get_by_label("Name of the run")
    page.get_by_role("button", name="Paste a text").click()
    page.get_by_label("Pasted text").fill("begin and the rest of it")
    expect(name).to_have_value("begin-and-the-rest")
    transfer = page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["begin\\nevaluate 1\\nwait end"], "dropped.txt"));
            return transfer;
        }"""
    )
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    expect(name).to_have_value("dropped")
    expect(page.get_by_label("Pasted text")).to_have_count(0)
    begin(page)
    expect(page.get_by_text("Preview 1.")).to_be_visible()


@fake
def test_texts_in_other_encodings_and_what_is_no_text(
    page: Page, learn: Callable[..., None], tmp_path: Path
) -> None:
    learn(train=True)
    choose(page, "picture.png", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    begin(page)
    expect(page.locator("#text-problem")).to_contain_text("not plain text")
    choose(page, "wide.txt", "begin\n".encode("utf-16"))
    expect(page.locator(".drop blockquote")).to_have_text("begin")
    choose(page, "old.txt", "begin\nevaluate 1\n# caf\xe9".encode("latin-1"))
    begin(page)
    expect(page.locator("#text-problem")).to_contain_text("Choose how it can be read")
    page.get_by_label("This text is not in UTF-8").select_option(label="Western European")
    expect(page.locator(".drop blockquote")).to_contain_text("# café")
    begin(page)
    expect(page.get_by_role("heading", name="old")).to_be_focused()
    expect(page.get_by_text("Preview 1.")).to_be_visible()
    assert "--encoding=cp1252" in json.loads((tmp_path / "old.flags").read_text())


@fake
def test_sending_is_cancelled(page: Page, learn: Callable[..., None], runs: Path) -> None:
    learn(train=True)
    page.route("**/v1/runs?*", lambda route: None)  # never answered
    choose(page, "book.txt", BOOK)
    begin(page)
    expect(page.get_by_role("progressbar", name="Sending the text")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Begin")).to_be_enabled()
    expect(page.get_by_text("book.txt")).to_be_visible()
    assert not (runs / "book").exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(
    page: Page, learn: Callable[..., None], runs: Path, scheme: Any
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme=scheme)
    make_run(runs / ("a-long-name-" + "x" * 40), [3.0, 2.5])
    learn(train=True)
    choose(page, f"{'y' * 60}.txt", BOOK + "z" * 100)
    expect(page.get_by_label("Name of the run")).to_be_visible()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("table").nth(1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
