"""The view Write in a browser: writing, its history, and keeping texts."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from helpers import fabricate, make_book
from reciter import recite

from textgen.model import Model

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect
from writing import (
    Cable,
    expect_longer,
    expect_text,
    field_of,
    highlighted,
    open_desk,
    press,
    set_caret,
    set_option,
    text_of,
    unfold,
    write,
)

PROMPT = "The ferry saw "
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)>\n"


@pytest.fixture(scope="module")
def url(
    serve: Callable[..., str], models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory
) -> str:
    folder = tmp_path_factory.mktemp("runs")
    made = [recite(folder / "alphabet", ALPHABET), recite(folder / "<b onclick=x>", HOSTILE)]
    return serve(*(run.path for run in made), *(model.path for model in models.values()))


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_a_seed_gives_the_text_of_the_library(
    page: Page, url: str, level: str, models: dict[str, Model]
) -> None:
    prompt = PROMPT.strip()
    open_desk(page, url, level, max_tokens=200, temperature=0.9)
    set_option(page, "Seed", "7")
    field_of(page).click()
    page.keyboard.type(prompt)
    expected = models[level].generate(prompt, seed=7, length=200, temperature=0.9)
    assert write(page) == prompt + expected


def test_writes_at_the_caret(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijklXYZ")
    set_caret(page, 12)
    assert write(page) == "abcdefghijklmnopXYZ"
    page.keyboard.type("!")  # the caret is behind what was written
    assert text_of(page) == "abcdefghijklmnop!XYZ"


def test_stops_at_once(page: Page, url: str) -> None:
    """And what is shown stays; typing stops it, too."""
    open_desk(page, url, "alphabet", max_tokens=100_000)
    page.keyboard.press("Control+Enter")
    expect_longer(page, 100)
    page.keyboard.press("Escape")
    stopped = text_of(page)
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    press(page, "Write")
    expect_longer(page, len(stopped) + 100)
    page.keyboard.type("!")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    assert text_of(page).count("!") == 1
    page.keyboard.type("?")
    assert text_of(page).count("?") == 1


def test_undoes_and_redoes_everything(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet", max_tokens=4)
    states = [""]
    page.keyboard.type("abcdefghijkl")
    states.append(text_of(page))
    states.append(write(page))
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    states.append(text_of(page))
    assert states[1:] == ["abcdefghijkl", "abcdefghijklmnop", "abcdefghijklmn"]
    for state in reversed(states[:-1]):
        page.keyboard.press("Control+z")
        expect_text(page, state)
    expect(page.get_by_role("button", name="Undo", exact=True)).to_be_disabled()
    for state in states[1:]:
        page.keyboard.press("Control+Shift+z")
        expect_text(page, state)
    expect(page.get_by_role("button", name="Redo", exact=True)).to_be_disabled()


def test_draws_another_text(page: Page, url: str) -> None:
    """And every one is kept in the history."""
    open_desk(page, url, "char", max_tokens=40)
    page.keyboard.type(PROMPT)
    texts = [write(page), write(page, "Again"), write(page, "Again")]
    assert len(set(texts)) == 3
    assert all(text.startswith(PROMPT) for text in texts)
    history = unfold(page, "History")
    expect(history.get_by_text("3 of 3")).to_be_visible()
    for text in (texts[1], texts[0], texts[2]):
        history.get_by_role("button", name="The way before").click()
        expect_text(page, text)


def test_draws_again_from_the_caret(page: Page, url: str) -> None:
    open_desk(page, url, "char", max_tokens=40)
    page.keyboard.type(PROMPT)
    first = write(page)
    kept = len(PROMPT) + 5
    set_caret(page, kept)
    second = write(page, "Again")
    assert second[:kept] == first[:kept]
    assert second != first
    assert len(second) == kept + 40


def test_takes_a_suggestion(page: Page, url: str) -> None:
    open_desk(page, url, "char", temperature=1.5)
    page.keyboard.type(PROMPT)
    page.keyboard.press("Alt+s")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options).to_have_count(4)
    second = page.locator("#proposal-1 .token").inner_text()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#proposal-1")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Tab")
    expect(page.get_by_role("listbox")).to_have_count(0)
    assert len(text_of(page)) == len(PROMPT) + 24
    # White space is shown by signs.
    taken, shown = (re.sub(r"[\s␣↵]", "", text) for text in (text_of(page), second))
    assert taken.startswith(re.sub(r"\s", "", PROMPT) + shown[:3])
    page.keyboard.press("Control+z")
    expect_text(page, PROMPT)
    page.keyboard.press("Tab")  # without a list, it leaves the field
    expect(field_of(page)).not_to_be_focused()


def test_suggests_after_a_pause(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    press(page, "Suggest")
    page.keyboard.type("abcdefghijkl")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options).to_have_count(1)  # all four are the same
    page.keyboard.press("Escape")
    expect(options).to_have_count(0)
    page.keyboard.type("m")
    expect(options).to_have_text("nopqrstuvwxyz0123456789a")
    page.keyboard.press("Tab")
    expect_text(page, ALPHABET + "a")


def test_goes_another_way(page: Page, url: str) -> None:
    """From any place of the history; the way before is kept."""
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijkl")
    write(page)
    page.keyboard.type("first way")
    history = unfold(page, "History")
    history.get_by_role("button", name=re.compile("^Written")).click()
    expect_text(page, "abcdefghijklmnop")
    field_of(page).click()
    page.keyboard.press("Control+End")
    page.keyboard.type("second way")
    history.get_by_role("button", name="The way before").click()
    expect_text(page, "abcdefghijklmnopfirst way")
    history.get_by_role("button", name="The next way").click()
    expect_text(page, "abcdefghijklmnopsecond way")
    history.get_by_role("button", name="Start").click()
    expect_text(page, "")


def test_tells_who_wrote_what(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijkl")
    write(page)
    page.keyboard.press("ArrowLeft")
    page.keyboard.type("new")
    expect_text(page, "abcdefghijklmnonewp")
    assert highlighted(page, "model") == ["mno", "p"]
    assert highlighted(page, "edit") == ["new"]


def test_keeps_the_text_in_the_browser(page: Page, url: str) -> None:
    """With its history and its colours."""
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijkl")
    text = write(page)
    expect(unfold(page, "Texts").locator(".titles")).to_contain_text(text)
    page.reload()
    expect_text(page, text)
    assert highlighted(page, "model") == ["mnop"]
    press(page, "Undo")
    expect_text(page, "abcdefghijkl")


def test_keeps_the_texts_of_two_tabs(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    page.keyboard.type("first")
    expect(unfold(page, "Texts").locator(".titles")).to_contain_text("first")
    other = page.context.new_page()
    other.goto(url)
    expect_text(other, "first")
    for tab in (page, other):
        field_of(tab).click()
        tab.keyboard.press("Control+End")
        tab.keyboard.type(" here" if tab is page else " there")
        titles = unfold(tab, "Texts").locator(".titles")
        expect(titles).to_contain_text("first here" if tab is page else "first there")
    other.reload()
    texts = unfold(other, "Texts")
    expect(texts.locator(".titles li")).to_have_count(2)
    texts.get_by_role("button", name=re.compile("^first here")).click()
    expect_text(other, "first here")


def test_opens_and_deletes_texts(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    page.keyboard.type("one")
    texts = unfold(page, "Texts")
    texts.get_by_role("button", name="New text").click()
    expect_text(page, "")
    field_of(page).click()
    page.keyboard.type("two")
    texts.get_by_role("button", name=re.compile("^one")).click()
    expect_text(page, "one")
    page.on("dialog", lambda dialog: dialog.accept())
    texts.get_by_role("button", name="Delete one").click()
    expect_text(page, "")
    expect(texts.locator(".titles li")).to_have_count(1)


def test_downloads_the_text(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    page.keyboard.type("Ünï¢ode: 👍\nשלום\n")
    with page.expect_download() as download:
        unfold(page, "Texts").get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "Ünï-ode-שלום.txt"
    assert Path(download.value.path()).read_text("utf-8") == "Ünï¢ode: 👍\nשלום\n"


def test_a_link_gives_the_same_text(page: Page, url: str, browser: Browser) -> None:
    open_desk(page, url, "char", max_tokens=60, temperature=1.1, stop=["zzz"])
    page.keyboard.type(PROMPT)
    write(page)
    text = write(page)
    page.keyboard.type("typed since")
    texts = unfold(page, "Texts")
    texts.get_by_role("button", name="Share").click()
    link = texts.get_by_label("Link to what the model wrote last").input_value()
    context = browser.new_context()
    other = context.new_page()
    other.goto(link)
    expect_text(other, text)
    expect(other).to_have_url(f"{url}/#write")
    context.close()


@pytest.mark.parametrize(
    "settings", ['{"stop":"abc","top_k":"x","temperature":[],"constructor":1}', "5", "null", "{"]
)
def test_a_link_with_settings_that_make_no_sense(page: Page, url: str, settings: str) -> None:
    query = urlencode({"prompt": "abcdefghijkl", "model": "alphabet", "settings": settings})
    page.goto(f"{url}/#write?{query}")
    expect_longer(page, 20)
    assert text_of(page).startswith("abcdefghijklmnopqrst")


def test_kept_settings_that_make_no_sense(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet", max_tokens=4, stop="abc", top_k="x", top_p=None, none=1)
    page.keyboard.type("abcdefghijkl")
    assert write(page) == "abcdefghijklmnop"


def test_text_of_a_model_is_never_markup(page: Page, url: str) -> None:
    """Nor are the names of runs, or what a person types."""
    ran = list[str]()
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    open_desk(page, url, "<b onclick=x>", max_tokens=3 * len(HOSTILE))
    page.keyboard.type("<script>")
    assert write(page) == "<script>" + (4 * HOSTILE)[8 : 8 + 3 * len(HOSTILE)]
    page.keyboard.press("Alt+s")
    expect(page.get_by_role("option")).not_to_have_count(0)
    press(page, "Likeliest")
    expect(page.get_by_role("option")).not_to_have_count(0)
    for section in ("History", "Texts", "Side by side"):
        unfold(page, section)
    unfold(page, "Side by side").get_by_role("button", name=re.compile("^Write")).click()
    expect(page.locator(".beside-texts")).to_contain_text("onerror=alert(1)")
    assert page.locator("main script, main img, main b").count() == 0
    assert ran == []


def test_an_error_is_told_in_words(page: Page, url: str) -> None:
    open_desk(page, url, "char", top_p=2)
    page.keyboard.type(PROMPT)
    assert write(page) == PROMPT
    expect(page.get_by_role("alert").first).to_contain_text("Top_p must be at most 1")
    expect(page.get_by_label("Top p")).to_have_attribute("aria-invalid", "true")
    set_option(page, "Top p", "")
    assert len(write(page)) > len(PROMPT)
    expect(page.get_by_role("alert").filter(has_text="must be")).to_have_count(0)


def test_a_lost_connection_loses_no_text(page: Page, url: str) -> None:
    cable = Cable(url)
    open_desk(page, cable.url, "alphabet", max_tokens=100_000)
    page.keyboard.type("abcdefghijkl")
    press(page, "Write")
    expect_longer(page, 100)
    cable.cut()
    alert = page.get_by_role("alert").filter(has_text="The server cannot be reached")
    expect(alert).to_contain_text("What was written is kept")
    kept = text_of(page)
    assert len(kept) > 100
    page.keyboard.type("a")
    cable.mend()
    set_option(page, "Max tokens", "4")
    assert len(write(page)) == len(kept) + 5


def test_asks_for_the_key(page: Page, serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path, api_key="ключ")
    page.goto(url)
    dialog = page.get_by_role("dialog", name="The server asks for a key")
    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Use this key").click()
    expect(dialog).to_contain_text("is not right")
    dialog.get_by_label("Key").fill("ключ")
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.get_by_label("Model", exact=True)).to_have_value("char")
    field_of(page).click()
    assert write(page)
    page.reload()
    expect(page.get_by_label("Model", exact=True)).to_have_value("char")


def test_says_that_there_is_no_model(page: Page, serve: Callable[..., str]) -> None:
    Path("empty").mkdir()
    page.goto(serve(folder="empty", train=True))
    expect(page.get_by_role("alert").first).to_contain_text("There is no model yet")
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_disabled()


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
