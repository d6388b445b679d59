"""What the page shows beside the text: likely tokens, surprise, copied passages, other texts."""

import functools
import http.server
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from textgen.model import Model

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect
from writing import (
    expect_text,
    field_of,
    highlighted,
    open_desk,
    set_caret,
    set_option,
    unfold,
    write,
)

AXE = Path(__file__).parents[2] / ".axe/node_modules/axe-core/axe.min.js"


def test_the_likeliest_tokens_at_the_pointer(page: Page, url: str) -> None:
    """Click one, and the text goes on from there."""
    open_desk(page, url, "alphabet", max_tokens=4)
    page.keyboard.type("abcdefghijkl")
    write(page)
    page.keyboard.press("Alt+l")
    options = page.get_by_role("listbox").get_by_role("option")
    expect(options).to_have_count(10)
    page.keyboard.press("Escape")
    x, y = page.evaluate(
        """() => {
          const range = document.createRange();
          const node = document.querySelector('.pane .text').firstChild;
          range.setStart(node, 13);
          range.setEnd(node, 14);
          const { left, right, top, bottom } = range.getBoundingClientRect();
          return [(left + right) / 2, (top + bottom) / 2];
        }"""
    )
    page.mouse.move(x, y)
    expect(options.first).to_contain_text("n")
    expect(options.first).to_contain_text("stands here")
    options.nth(1).click()
    page.wait_for_function(
        "() => /^abcdefghijklm[^n]/.test(document.querySelector('.pane .text').textContent)"
    )
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    expect_text(page, "abcdefghijklmnop")


def test_tokens_are_those_of_the_model(page: Page, url: str) -> None:
    """Those of another model do not stand for this one's."""
    open_desk(page, url, "word", max_tokens=4)
    page.keyboard.type("The ferry saw the lamp")
    set_caret(page, 6)
    page.keyboard.press("Alt+l")
    here = page.get_by_role("option").filter(has_text="stands here").locator(".token")
    expect(here).to_have_text("␣ferry")
    page.keyboard.press("Escape")
    page.get_by_label("Model", exact=True).select_option("char")
    field_of(page).focus()
    page.keyboard.press("Alt+l")
    expect(here).to_have_text("r")


def test_the_bytes_of_a_character_are_one_token(page: Page, url: str) -> None:
    page.goto(url)
    found = page.evaluate(
        """async () => {
          const { score } = await import("/page/write/generate.js");
          const logprobs = { text_offset: [0, 1, 1, 1, 2], token_logprobs: [null, -1, -2, -3, -4] };
          return score({ post: async () => ({ choices: [{ logprobs }] }) }, "byte", "a漢b");
        }"""
    )
    expected = {"starts": [0, 1, 2], "ends": [1, 2, 3], "scores": [None, -6, -4]}
    assert found == {"model": "byte", **expected}


def test_surprise_is_coloured(page: Page, url: str) -> None:
    open_desk(page, url, "alphabet")
    page.keyboard.type("abcdefghijklmnopqrstuvwabcdefghijklmn")
    unfold(page, "Look closer")
    page.get_by_label("Colour by surprise").check()
    page.wait_for_function("() => CSS.highlights.get('surprise-4').size > 0")
    # From the "a" after "w" on, until the network has found its place again.
    [part] = highlighted(page, "surprise-4")
    assert "abcdefghijklmn".startswith(part)
    page.get_by_label("Colour by surprise").uncheck()
    assert highlighted(page, "surprise-4") == []


def test_copied_passages_are_underlined(page: Page, url: str, models: dict[str, Model]) -> None:
    book = models["char"].run.documents_by_name(models["char"].tokenizer.decode)[0][1]
    passage = book[100:150].replace("\n", " ").strip()
    longest = max(book[100:400].split("\n"), key=len)
    open_desk(page, url, "char")
    page.keyboard.insert_text(f"The {longest} {passage[:3]}")
    unfold(page, "Look closer")
    page.get_by_label("Underline what is copied").check()
    page.wait_for_function("() => CSS.highlights.get('copied').size > 0")
    assert longest in "".join(highlighted(page, "copied"))
    expect(page.locator(".passages")).to_contain_text("book.txt")


def test_several_texts_side_by_side(page: Page, url: str, models: dict[str, Model]) -> None:
    prompt = "The ferry"
    open_desk(page, url, "char", max_tokens=30)
    set_option(page, "Seed", "5")
    field_of(page).click()
    page.keyboard.type(prompt)
    section = unfold(page, "Side by side")
    section.get_by_label("Temperatures").fill("0, 1.3")
    section.get_by_label("word").check()
    section.get_by_label("char").check()
    section.get_by_role("button", name=re.compile("^Write 4")).click()
    expect(section.get_by_role("button", name="Take this")).to_have_count(4)
    for level in ("char", "word"):
        for temperature in (0, 1.3):
            settings: dict[str, Any] = {"seed": 5, "length": 30, "temperature": temperature}
            text = models[level].generate(prompt, **settings)
            article = section.get_by_role("article", name=f"{level} at {temperature}")
            assert article.locator(".text").text_content() == text
    section.get_by_role("article", name="char at 1.3").get_by_role("button").click()
    expect_text(page, prompt + models["char"].generate(prompt, seed=5, length=30, temperature=1.3))


def test_presets(page: Page, url: str) -> None:
    open_desk(page, url, "char")
    temperature = page.get_by_label("Temperature", exact=True)
    page.get_by_role("button", name="Calm").click()
    calm = float(temperature.input_value())
    page.get_by_role("button", name="Wild").click()
    assert float(temperature.input_value()) > calm


@pytest.mark.parametrize("view", ["write", "learn"])
def test_it_fits_a_phone(page: Page, url: str, view: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{url}/#{view}")
    expect(page.get_by_role("navigation", name="Views")).to_be_visible()
    expect(page.locator("main")).to_contain_text("alphabet")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(page: Page, url: str, scheme: Any) -> None:
    """Nothing serious is found by axe-core."""
    if not AXE.exists():
        pytest.skip("axe-core is missing: npm install --prefix .axe --no-save axe-core@4")
    page.emulate_media(color_scheme=scheme)
    open_desk(page, url, "alphabet", max_tokens=40)
    page.keyboard.type("abcdefghijkl")
    write(page)
    for section in ("History", "Texts", "Side by side"):
        unfold(page, section)
    set_caret(page, 3)
    found = serious(page)
    page.goto(f"{url}/#learn")
    expect(page.locator("main")).to_contain_text("alphabet")
    assert found + serious(page) == []


def serious(page: Page) -> list[str]:
    """Return what axe-core finds on the page."""
    # The debugger may run scripts that the content security policy forbids to the page.
    page.evaluate(AXE.read_text("utf-8"))
    results = page.evaluate("() => axe.run()")
    return [
        f"{rule['id']}: {rule['nodes'][0]['html']}"
        for rule in results["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def test_a_page_of_another_origin(
    page: Page, serve: Callable[..., str], models: dict[str, Model]
) -> None:
    """It may use the server if --cors-origin names it."""
    Path("site").mkdir()
    Path("site/index.html").write_text("<!doctype html><title>another</title>", "utf-8")
    handler = functools.partial(QuietHandler, directory="site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        origin = f"http://127.0.0.1:{site.server_address[1]}"
        page.goto(origin)
        for allowed in (False, True):
            origins = {"cors_origin": origin} if allowed else {}
            url = serve(models["char"].path, **origins)
            found = page.evaluate(
                """async url => {
                  const body = JSON.stringify({ prompt: "The ", max_tokens: 5, seed: 1 });
                  const headers = { "Content-Type": "application/json", Authorization: "Bearer x" };
                  const request = { method: "POST", headers, body };
                  try {
                    const answer = await fetch(`${url}/v1/completions`, request);
                    return (await answer.json()).choices[0].text;
                  } catch (error) {
                    return error.name;
                  }
                }""",
                url,
            )
            expected = models["char"].generate("The ", seed=1, length=5)
            assert found == (expected if allowed else "TypeError")
        site.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def test_the_first_paint_is_quick(page: Page, url: str) -> None:
    page.goto(url)
    paint = page.wait_for_function(
        "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
    )
    assert paint.json_value() < 5000  # a generous bound
