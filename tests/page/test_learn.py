"""The view Learn in a browser: runs, their curves and their previews."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from learning import evaluation, make_run

pytest.importorskip(
    "playwright.sync_api", reason="the page's tests need a browser: apt-get install chromium"
)
from playwright.sync_api import Page, expect


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
