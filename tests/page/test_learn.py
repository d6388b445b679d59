"""The view Learn in a browser: runs, curves, and trainings that begin on the page."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from helpers import fabricate, make_book, save_random_weights

from textgen.runs.folder import Run
from textgen.serving import process

pytest.importorskip(
    "playwright.sync_api", reason="the page's tests need a browser: apt-get install chromium"
)
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
def runs(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


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


@pytest.fixture
def learn(page: Page, serve: Callable[..., str], runs: Path) -> Callable[..., None]:
    """Start a server and open the view."""

    def start(place: str = "", **options: Any) -> None:
        page.goto(f"{serve(folder=runs, **options)}/#learn{place}")

    return start


def make_run(path: Path, losses: list[float], **options: Any) -> Run:
    """Create a run with evaluations and previews."""
    book = path.parent.parent / f"{path.name}.txt"
    book.write_text(make_book())
    run = fabricate(path, book, **options)
    run.write_metrics([evaluation(number, loss) for number, loss in enumerate(losses, 1)])
    size = 0
    for number, _ in enumerate(losses, 1):
        size = run.add_sample(f"epoch {number:.2f}\n\n{path.name} {number}\n\n", size)
    return run


def evaluation(number: int, loss: float) -> dict[str, Any]:
    return {
        "step": number,
        "epoch": float(number),
        "seconds": 30.0 * number,
        "loss": loss - 0.25,
        "validation_loss": loss,
        "bits_per_character": 1.5 * loss,
        "tokens_per_second": 1000.0,
    }


def texts(page: Page, css: str) -> list[str]:
    return [text.strip() for text in page.locator(css).all_inner_texts()]


# Runs and curves


def test_runs_have_figures_curves_and_previews(
    page: Page, learn: Callable[..., None], runs: Path
) -> None:
    make_run(runs / "old", [3.0, 2.5])
    first, last = (runs / "old/metrics.jsonl").read_text().splitlines()
    fitted = {"temperature": 1.08, "tempered_loss": 2.375, "tempered_bits": 3.25}
    (runs / "old/metrics.jsonl").write_text(f"{first}\n{json.dumps(json.loads(last) | fitted)}\n")
    make_run(runs / "new", [3.5, 2.0, 2.25])
    learn("?run=new")
    row = page.get_by_role("row", name="new")
    expect(row).to_contain_text("3.000")  # bits per character of the weights kept
    expect(row).to_contain_text("1 min 30 s")
    expect(page.get_by_role("heading", name="new")).to_be_visible()
    figures = page.get_by_role("region", name="Figures", exact=True)
    for text in ("new.txt", "characters", "LSTM", "2.000", "3.00 epochs"):
        expect(figures).to_contain_text(text, ignore_case=True)
    expect(figures).not_to_contain_text("fitted temperature")
    previews = page.get_by_role("region", name="What it wrote as it learned")
    expect(previews.locator("blockquote")).to_have_text(["new 3", "new 2", "new 1"])
    curve = page.get_by_role("img", name=re.compile("new: loss.* best 2.000 after 1 min"))
    expect(curve.locator("canvas")).to_be_visible()
    page.get_by_text("The same as a table").click()
    table = page.get_by_role("table", name="new")
    expect(table.locator("tbody tr")).to_have_count(3)
    expect(table.locator("tbody tr").nth(1)).to_have_text(re.compile("1 min.*2.00.*1.750.*2.000"))

    page.get_by_role("link", name="old").click()
    expect(page.get_by_role("heading", name="old")).to_be_focused()
    expect(previews.locator("blockquote")).to_have_text(["old 2", "old 1"])
    for text in ("2.375", "3.250", "fitted temperature1.08"):
        expect(figures).to_contain_text(text)
    assert page.get_by_role("link", name="Write with it").get_attribute("href") == (
        "#write?model=old"
    )


def test_runs_are_compared(page: Page, learn: Callable[..., None], runs: Path) -> None:
    for name, level in (("chars", "char"), ("words", "word"), ("others", "char")):
        make_run(runs / name, [3.0, 2.5], level=level)
    learn("?run=chars")
    series = ".u-legend .u-series"  # of the plot, with that of the time
    expect(page.locator(series)).to_have_count(3)
    expect(page.get_by_label("Compare chars")).to_be_disabled()
    page.get_by_label("Compare others").check()
    expect(page.locator(series)).to_have_count(5)
    expect(page.get_by_role("img", name=re.compile("chars: .* others: "))).to_be_visible()
    expect(page.get_by_role("radio", name="Loss")).to_be_checked()
    # A token of another level is something else.
    page.get_by_label("Compare words").check()
    expect(page.get_by_role("radio", name="Bits per character")).to_be_checked()
    expect(page.locator(series)).to_have_count(4)
    page.get_by_label("Compare words").uncheck()
    page.get_by_label("Compare others").uncheck()
    expect(page.locator(series)).to_have_count(3)


def test_a_server_that_does_not_train_says_how(
    page: Page, learn: Callable[..., None], runs: Path
) -> None:
    """And a run that another process trains is followed."""
    run = make_run(runs / "run", [3.0])
    with FileLock(runs / "run" / ".lock"):
        learn()
        expect(page.get_by_text("textgen serve --train")).to_be_visible()
        expect(page.get_by_text("textgen train book.txt")).to_be_visible()
        expect(page.get_by_text("Drop a text file")).to_have_count(0)
        expect(page.get_by_text("Another program trains it")).to_be_visible()
        expect(page.get_by_role("button", name=re.compile("Stop"))).to_have_count(0)
        expect(page.get_by_text("run 1")).to_be_visible()
        news = page.locator(".details [role=status]")
        expect(news).to_have_text("")  # what was known at first is not announced
        run.add_sample("epoch 2.00\n\nrun 2\n\n", (runs / "run" / "samples.txt").stat().st_size)
        run.write_metrics([evaluation(1, 3.0), evaluation(2, 2.5)])
        expect(news).to_have_text("run after 1 min, epoch 2.00, validation loss 2.500")
        expect(page.locator(".details blockquote")).to_have_text(["run 2", "run 1"])
    expect(page.locator(".details .state")).to_have_text("trained")
    expect(page.get_by_text("Another program trains it")).to_have_count(0)
    expect(page.get_by_text(re.compile("^trained, "))).to_be_visible()  # the list knows it, too
    with FileLock(runs / "run" / ".lock"):  # it is resumed
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        expect(page.get_by_text("Another program trains it")).to_be_visible()


def test_what_a_network_writes_is_text(page: Page, learn: Callable[..., None], runs: Path) -> None:
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    dialogs: list[Any] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog))
    run = make_run(runs / "run", [3.0])
    run.add_sample(f"epoch 1.00\n\n{attack}\n\n", 0)
    learn()
    expect(page.locator(".details blockquote")).to_have_text(attack)
    assert not page.locator("main img, main script").count()
    assert not dialogs


def test_a_lost_connection_is_tried_again(
    page: Page, learn: Callable[..., None], runs: Path
) -> None:
    make_run(runs / "run", [3.0, 2.5])
    tries = []
    start = 'event: state\ndata: {"state": "training"}\n\nevent: metrics\ndata: ' + (
        f"{json.dumps(evaluation(1, 3.0))}\n\n"
    )

    def answer(route: Any) -> None:
        tries.append(route)
        if len(tries) == 1:
            route.fulfill(content_type="text/event-stream", body=start)
        elif len(tries) == 2:
            route.abort()
        else:
            route.continue_()

    page.route("**/events", answer)
    learn()
    expect(page.get_by_text("The connection to the server is lost")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("from 3.000 to 3.000"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("from 3.000 to 2.500"))).to_be_visible()
    expect(page.get_by_text("The connection to the server is lost")).to_have_count(0)
    expect(page.locator(".details blockquote")).to_have_text(["run 2", "run 1"])
    assert len(tries) == 3


# Begin


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


# Everyone


def test_the_keyboard_is_enough(page: Page, learn: Callable[..., None], runs: Path) -> None:
    make_run(runs / "first", [3.0, 2.5])
    make_run(runs / "second", [3.0, 2.5])
    path = shutil.copy(runs.parent / "first.txt", "typed.txt")
    page.on("filechooser", lambda chooser: chooser.set_files(path))
    learn("?run=first", train=True)
    page.get_by_label("Compare second").focus()
    page.keyboard.press("Space")
    expect(page.locator(".u-legend .u-series")).to_have_count(5)
    page.get_by_role("link", name="second").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="second")).to_be_focused()
    page.get_by_role("button", name="Choose a file").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Name of the run")).to_have_value("typed")
    page.get_by_label("5", exact=True).focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("15", exact=True)).to_be_checked()


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
