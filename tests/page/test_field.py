"""The text field of the view Write: scripts, input methods, and texts that are long."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import fabricate, make_book
from reciter import recite

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect
from writing import expect_text, field_of, highlighted, open_desk, set_caret, text_of, write

PROMPT = "The ferry saw "


def test_texts_of_any_script(page: Page, serve: Callable[..., str]) -> None:
    """Positions are right behind characters beyond the basic plane, and from right to left."""
    letters = "אבגדהוזחטיכלמנסעפצקרשת👍🎈𞤀"
    url = serve(recite("letters", letters).path)
    field = open_desk(page, url, "letters", max_tokens=6)
    page.keyboard.insert_text(letters[:22])
    assert write(page) == letters + letters[:3]
    assert field.evaluate("e => getComputedStyle(e).direction") == "rtl"
    assert highlighted(page, "model") == [letters[22:] + letters[:3]]
    page.keyboard.press("Control+Home")
    for _ in range(23):
        page.keyboard.press("ArrowLeft")  # which goes on
    page.keyboard.press("Alt+l")
    first = page.get_by_role("listbox").get_by_role("option").first
    expect(first).to_contain_text("🎈")
    expect(first).to_contain_text("stands here")


def test_composed_text_is_an_edit(page: Page, url: str) -> None:
    """An input method changes the text by itself."""
    open_desk(page, url, "alphabet")
    page.keyboard.type("ab")
    session = page.context.new_cdp_session(page)
    for text in ("に", "にほ", "日本"):
        session.send(
            "Input.imeSetComposition",
            {"text": text, "selectionStart": len(text), "selectionEnd": len(text)},
        )
    page.keyboard.insert_text("日本")
    expect_text(page, "ab日本")
    page.keyboard.press("Enter")
    page.keyboard.type("c")
    expect_text(page, "ab日本\nc")
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    expect_text(page, "")
    page.keyboard.press("Control+z")
    expect_text(page, "ab日本\nc")


def test_the_caret_stays_behind_what_was_composed(page: Page, url: str) -> None:
    """Among equal letters, too."""
    open_desk(page, url, "alphabet")
    page.keyboard.type("leter")
    set_caret(page, 2)
    session = page.context.new_cdp_session(page)
    composed = {"text": "t", "selectionStart": 1, "selectionEnd": 1}
    session.send("Input.imeSetComposition", composed)
    page.keyboard.insert_text("t")
    page.keyboard.type("!")
    expect_text(page, "let!ter")
    found = page.evaluate(
        """async () => {
          const { differenceOf } = await import("/page/write/session.js");
          return differenceOf("leter", "letter", 3);
        }"""
    )
    assert found == {"at": 2, "removed": 0, "inserted": "t"}


def test_keeps_up_with_10_000_tokens(page: Page, serve: Callable[..., str]) -> None:
    Path("book.txt").write_text(make_book(), "utf-8")
    url = serve(fabricate("small", "book.txt").path)
    open_desk(page, url, "small", max_tokens=10_000)
    page.keyboard.type(PROMPT)
    tasks = traced(page, lambda: write(page))
    assert len(text_of(page)) == len(PROMPT) + 10_000
    assert max(tasks) < 100
    pane = page.locator(".pane")
    assert pane.evaluate("p => p.scrollHeight - p.scrollTop - p.clientHeight") < 50  # it followed


def test_edits_200_000_characters(page: Page, url: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    open_desk(page, url, "alphabet")
    line = "The lamp at Harrow was lit by the ferry and the goose. " * 10 + "\n"
    text = line * (200_000 // len(line) + 1)
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    field_of(page).click()

    def edit() -> None:
        page.keyboard.press("Control+v")
        page.keyboard.type("end")
        page.keyboard.press("Control+Home")
        page.keyboard.type("start\n")

    longest = []
    for _ in range(3):  # programs beside it make a task longer, never shorter
        page.keyboard.press("Control+a")
        page.keyboard.press("Delete")
        longest.append(max(traced(page, edit)))
        assert text_of(page) == f"start\n{text}end"
    assert min(longest) < 100


def traced(page: Page, act: Callable[[], Any]) -> list[float]:
    """Return the milliseconds of processor time of each task of the page during an act."""
    session = page.context.new_cdp_session(page)
    events, done = list[dict[str, Any]](), list[Any]()
    session.on("Tracing.dataCollected", lambda data: events.extend(data["value"]))
    session.on("Tracing.tracingComplete", lambda data: done.append(data))
    config = {"includedCategories": ["toplevel", "devtools.timeline"]}
    session.send("Tracing.start", {"transferMode": "ReportEvents", "traceConfig": config})
    act()
    session.send("Tracing.end")
    while not done:
        page.evaluate("new Promise(requestAnimationFrame)")  # lets events arrive
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    tasks = [
        event["tdur"] / 1000
        for event in events
        if "RunTask" in event["name"] and (event["pid"], event["tid"]) in main and "tdur" in event
    ]
    assert len(tasks) > 10
    return tasks
