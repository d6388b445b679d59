"""What a browser keeps of the view Write: texts, settings, and links to what was written."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect
from writing import (
    expect_longer,
    expect_text,
    field_of,
    highlighted,
    open_desk,
    press,
    text_of,
    unfold,
    write,
)

PROMPT = "The ferry saw "


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


def test_a_new_text_twice_at_once(page: Page, url: str) -> None:
    """A double click finds the text being stored."""
    open_desk(page, url, "alphabet")
    page.keyboard.type("first")
    texts = unfold(page, "Texts")
    new = texts.get_by_role("button", name="New text")
    new.evaluate("button => { button.click(); button.click(); button.click(); }")
    expect_text(page, "")
    field_of(page).click()
    page.keyboard.type("second")
    new.click()
    expect_text(page, "")
    expect(texts.locator(".titles li")).to_have_count(2)
    for text in ("first", "second"):
        texts.get_by_role("button", name=re.compile(f"^{text}")).click()
        expect_text(page, text)


def test_the_open_text_stays_when_it_is_chosen(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    page.keyboard.type("first")
    title = unfold(page, "Texts").get_by_role("button", name=re.compile("^first"))
    expect(title).to_be_visible()
    field_of(page).click()
    page.keyboard.type(" and more")
    title.click()
    expect(title).to_contain_text("first and more")
    assert text_of(page) == "first and more"


def test_a_text_that_another_tab_has_deleted(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    page.keyboard.type("first")
    texts = unfold(page, "Texts")
    expect(texts.locator(".titles")).to_contain_text("first")
    texts.get_by_role("button", name="New text").click()
    field_of(page).click()
    page.keyboard.type("second")
    expect(texts.locator(".titles")).to_contain_text("second")
    other = page.context.new_page()
    other.goto(url)
    other.on("dialog", lambda dialog: dialog.accept())
    unfold(other, "Texts").get_by_role("button", name="Delete first").click()
    expect(unfold(other, "Texts").get_by_text("first")).to_have_count(0)
    texts.get_by_role("button", name=re.compile("^first")).click()
    expect(page.get_by_role("alert").first).to_contain_text("was deleted in another tab")
    assert text_of(page) == "second"


def test_writes_where_nothing_can_be_kept(page: Page, url: str) -> None:
    """A browser may be told to keep nothing of a page, or have no room."""
    page.add_init_script(
        """Object.defineProperty(window, "localStorage", {
          get() { throw new DOMException("no", "SecurityError"); }
        })"""
    )
    page.goto(url)
    page.get_by_label("Model", exact=True).select_option("alphabet")
    press(page, "Suggest")
    unfold(page, "Look closer")
    page.get_by_label("Colour by surprise").check()
    page.get_by_label("Max tokens", exact=True).fill("4")
    field_of(page).click()
    page.keyboard.type("abcdefghijkl")
    assert write(page) == "abcdefghijklmnop"


def test_the_newer_version_of_another_tab(page: Page, url: str) -> None:
    """It can be opened."""
    open_desk(page, url, "alphabet")
    page.keyboard.type("first")
    titles = unfold(page, "Texts").locator(".titles li")
    expect(titles).to_contain_text("first")
    other = page.context.new_page()
    other.goto(url)
    expect_text(other, "first")
    field_of(other).click()
    other.keyboard.type(" other")
    expect(unfold(other, "Texts").locator(".titles")).to_contain_text("first other")
    title = titles.get_by_role("button", name=re.compile("^first"))
    title.click()
    expect_text(page, "first other")


def test_a_link_to_a_model_that_is_not_there(page: Page, url: str) -> None:
    page.goto(f"{url}/#write?{urlencode({'prompt': 'abcdefghijkl', 'model': 'none'})}")
    expect(page.get_by_role("alert").first).to_contain_text("The server has no model none")
    assert text_of(page) == "abcdefghijkl"


def test_a_link_is_tried_again(page: Page, url: str) -> None:
    """The address stays until the server has answered; the seed of a link is used once."""
    settings = '{"max_tokens": 4}'
    query = urlencode(
        {"prompt": "abcdefghijkl", "model": "alphabet", "settings": settings, "seed": 3}
    )
    page.route("**/v1/options", lambda route: route.abort())
    page.goto(f"{url}/#write?{query}")
    expect(page.get_by_role("alert").first).to_contain_text("The server cannot be reached")
    page.unroute("**/v1/options")
    page.reload()
    expect_text(page, "abcdefghijklmnop")
    expect(page).to_have_url(f"{url}/#write")
    unfold(page, "Settings")
    assert page.get_by_label("Seed", exact=True).input_value() == ""
