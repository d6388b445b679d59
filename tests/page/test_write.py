"""The view Write in a browser: writing, and its history."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reciter import ALPHABET, recite

from textgen.model import Model

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, Route, expect
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
HOSTILE = "<script>alert(1)</script> <img src=x onerror=alert(1)>\n"


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


def test_what_was_there_comes_back_if_nothing_is_drawn(page: Page, url: str) -> None:
    """Whether the server cannot be reached, or a person stops too early; the caret stays, too."""
    open_desk(page, url, "char", max_tokens=40)
    page.keyboard.type(PROMPT)
    text = write(page)
    set_caret(page, len(PROMPT))
    page.route("**/v1/completions", lambda route: route.abort())
    press(page, "Again")
    expect(page.get_by_role("alert").first).to_contain_text("The server cannot be reached")
    expect_text(page, text)
    page.unroute("**/v1/completions")
    page.route("**/v1/completions", lambda route: None)  # which never answers
    for stop in ("Escape", "Control+z"):
        press(page, "Again")
        expect_text(page, PROMPT)
        page.keyboard.press(stop)
        expect_text(page, text)
    set_caret(page, 3)
    press(page, "Write")
    page.keyboard.press("Escape")
    page.keyboard.type("!")
    expect_text(page, f"{text[:3]}!{text[3:]}")
    press(page, "Undo")
    set_caret(page, len(PROMPT))
    page.unroute("**/v1/completions")
    assert write(page, "Again")[: len(PROMPT)] == PROMPT
    history = unfold(page, "History")
    expect(history.get_by_text("2 of 2")).to_be_visible()


def test_comparisons_are_kept_beside_a_text_that_waits(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijkl")
    held = list[Route]()
    page.route("**/v1/completions", lambda route: held.append(route))
    section = unfold(page, "Side by side")
    section.get_by_label("Temperatures").fill("0, 0.1")
    section.get_by_role("button", name=re.compile("^Write 2")).click()
    field_of(page).click()
    press(page, "Write")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    take = section.get_by_role("button", name="Take this")
    for count in (1, 2):
        held[count - 1].continue_()
        expect(take).to_have_count(count)
    written = unfold(page, "History").get_by_role("button", name=re.compile("^Written nothing"))
    written.click()  # it stops, and is gone
    expect(written).to_have_count(0)
    expect_text(page, "abcdefghijkl")
    take.first.click()
    expect_text(page, "abcdefghijklmnop")
    expect(unfold(page, "History").get_by_text("1 of 2")).to_be_visible()


@pytest.mark.parametrize(
    ("platform", "keys", "draws"),
    [
        ("Linux x86_64", {"key": "a", "code": "KeyQ", "altKey": True}, True),  # AZERTY
        ("Linux x86_64", {"key": "ą", "code": "KeyA", "altKey": True}, True),
        ("Linux x86_64", {"key": "ą", "code": "KeyA", "altKey": True, "ctrlKey": True}, False),
        ("MacIntel", {"key": "ą", "code": "KeyA", "altKey": True}, False),
        ("MacIntel", {"key": "ą", "code": "KeyA", "altKey": True, "ctrlKey": True}, True),
    ],
)
def test_keys_of_other_keyboards(
    page: Page, url: str, platform: str, keys: dict[str, Any], draws: bool
) -> None:
    page.add_init_script(f"Object.defineProperty(navigator, 'platform', {{value: '{platform}'}})")
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijkl")
    write(page)
    press_keys = """(field, keys) => !field.dispatchEvent(
      new KeyboardEvent("keydown", { ...keys, bubbles: true, cancelable: true }))"""
    assert field_of(page).evaluate(press_keys, keys) == draws
    ways = unfold(page, "History").get_by_text("2 of 2")
    expect(ways).to_have_count(int(draws))


def test_likely_words_after_a_space(page: Page, url: str) -> None:
    """A word brings the space before it along, which stands there already."""
    open_desk(page, url, "word", max_tokens=1)
    page.keyboard.type("The ")
    page.keyboard.press("Alt+l")
    first = page.locator("#proposal-0 .token")
    expect(first).to_have_text(re.compile(r"^\w"))
    word = first.inner_text()
    page.keyboard.press("Enter")
    expect_longer(page, len("The ") + len(word))
    assert text_of(page).startswith(f"The {word}")


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


def test_text_of_a_model_is_never_markup(page: Page, serve: Callable[..., str]) -> None:
    """Nor are the names of runs, or what a person types."""
    url = serve(recite("<b onclick=x>", HOSTILE).path)
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
