"""The page of an inspected text, opened from disk."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from inspected import TEXT, inspected

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from textgen.reporting.document import html_document

AXE = Path(__file__).parents[2] / ".axe/node_modules/axe-core/axe.min.js"
ALL_COLOURS = ["Surprisal", "Rank", "Unit", "Copied", "Author"]
Show = Callable[..., None]


@pytest.fixture
def show(page: Page, tmp_path: Path) -> Show:
    """Open the page of some data; it may read nothing but itself."""
    path = tmp_path / "page.html"
    page.on("request", lambda request: requests.append(request.url))
    requests = list[str]()

    def show(data: dict[str, Any], place: str = "") -> None:
        path.write_text(html_document(data, data["name"]), "utf-8")
        page.goto(f"{path.as_uri()}#{place}")
        expect(page.locator("#panels section").first).to_be_attached()
        assert {url.partition("#")[0] for url in requests} == {path.as_uri()}

    return show


def token(page: Page, number: int) -> Any:
    return page.locator("#text .token").nth(number)


def colour(page: Page, number: int) -> str:
    return token(page, number).evaluate("e => getComputedStyle(e).background")


def swatch(page: Page, name: str) -> str:
    """Return the colour that the legend gives a meaning."""
    text = re.compile(rf"(?<!−){re.escape(name)}$")
    swatch = page.locator(".legend .swatch").filter(has_text=text).locator(".token")
    return swatch.evaluate("e => getComputedStyle(e).background")


def choose(page: Page, name: str) -> None:
    page.locator("#toolbar").get_by_text(name, exact=True).click()
    expect(page.get_by_role("radio", name=name)).to_be_checked()


def test_surprisal(page: Page, show: Show) -> None:
    show(inspected())
    assert page.locator("#text").text_content() == TEXT
    expect(page.locator("#header")).to_contain_text("2.25 bits per character")
    expect(page.get_by_role("radio", name="Surprisal")).to_be_checked()
    meanings = {0: "not predicted", 2: "2", 4: "4", 6: "6", 8: "8 or more", 10: "8 or more"}
    colours = {number: swatch(page, name) for number, name in meanings.items()}
    assert {number: colour(page, number) for number in meanings} == colours
    assert len(set(colours.values())) == 5
    histogram = page.get_by_role("table", name="Tokens by surprisal")
    page.get_by_text("As a table").first.click()
    # Bits 0 to 10 come again and again; the first token is not predicted.
    expect(histogram.get_by_role("row", name="0 to 0.5 bits")).to_contain_text("2")
    expect(histogram.get_by_role("row", name="8 bits or more")).to_contain_text("8")


def test_ranks(page: Page, show: Show) -> None:
    show(inspected("a" * 200), "colour=rank")
    meanings = {0: "none", 1: "2–10", 9: "2–10", 10: "11–100", 99: "11–100", 100: "beyond 100"}
    assert {number: colour(page, number) for number in meanings} == {
        number: swatch(page, name) for number, name in meanings.items()
    }
    expect(page.locator(".ranks li")).to_have_text([
        "first guess0%", "2–104.5%", "11–10045%", "beyond 10050%"
    ])  # fmt: skip


def test_a_unit_is_picked_by_its_feature(page: Page, show: Show) -> None:
    show(inspected())
    page.locator(".features").get_by_role("button", name="layer 1, unit 1, tanh(c)").click()
    expect(page.get_by_role("radio", name="Unit")).to_be_checked()
    expect(page.locator(".legend")).to_contain_text("layer 1, unit 1, tanh(c)")
    for number, character in enumerate(TEXT):
        quoted = TEXT[: number + 1].count('"') % 2 == 1
        assert colour(page, number) == swatch(page, "1" if quoted else "−1"), character
    token(page, 12).click()
    expect(page.locator("#card")).to_contain_text("layer 1, unit 1, tanh(c): +1.00")
    expect(page.locator(".features tbody")).to_contain_text("25% of the tokens")
    expect(page.locator(".features tbody")).to_contain_text("−0.88")


def test_any_unit_of_the_beginning(page: Page, show: Show) -> None:
    """It is kept in the address."""
    show(inspected(), "colour=unit")
    page.get_by_role("button", name="Previous unit").click()
    expect(page.locator(".legend")).to_contain_text("layer 1, unit 0, tanh(c)")
    assert colour(page, 9) == swatch(page, "−1")
    assert colour(page, 10) == swatch(page, "known for the first 10 tokens")
    page.get_by_role("spinbutton", name="Unit").fill("2")
    page.get_by_role("combobox", name="Part").select_option("h")
    expect(page.locator(".legend")).to_contain_text("layer 1, unit 2, h")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Next unit").press("ArrowLeft")
    expect(page.locator(".legend")).to_contain_text("layer 1, unit 1, h")
    page.reload()
    expect(page.locator(".legend")).to_contain_text("layer 1, unit 1, h")
    token(page, 20).click()
    expect(page.locator("#card")).to_contain_text("not known so far into the text")
    page.get_by_role("img", name="Layer 1, forget gate").locator("circle").nth(1).click()
    expect(page.locator(".legend")).to_contain_text("layer 1, unit 1, tanh(c)")


def test_the_card_follows_the_pointer_until_a_click(page: Page, show: Show) -> None:
    show(inspected())
    card = page.locator("#card")
    token(page, 4).hover()
    expect(card.get_by_role("heading")).to_have_text("stoken 5 of 32")
    expect(card).to_contain_text("4.00 bits, guess number 5")
    guesses = card.get_by_role("list", name="Guesses").get_by_role("listitem")
    expect(guesses).to_have_text(["s50%", "y25%", "line break13%", "space6.3%", '"3.1%'])
    token(page, 3).click()
    token(page, 6).hover()
    expect(card.get_by_role("heading")).to_have_text("spacetoken 4 of 32")
    page.keyboard.press("Escape")
    token(page, 5).hover()
    token(page, 6).hover()
    expect(card.get_by_role("heading")).to_have_text("itoken 7 of 32")


def test_the_keyboard(page: Page, show: Show) -> None:
    show(inspected())
    heading = page.locator("#card").get_by_role("heading")
    page.locator("#text").focus()
    for key, shown in [
        ("ArrowRight", "Stoken 1 "),
        ("ArrowRight", "htoken 2 "),
        ("ArrowDown", "etoken 18 "),
        ("ArrowUp", "htoken 2 "),
        ("End", "line breaktoken 32 "),
        ("ArrowLeft", ".token 31 "),
        ("Home", "Stoken 1 "),
    ]:
        page.keyboard.press(key)
        expect(heading).to_contain_text(shown)
    expect(page.locator("#said")).to_have_text("S, not predicted")
    expect(page.locator(".cursor")).to_have_text("S")


def test_a_copied_passage_and_its_source(page: Page, show: Show) -> None:
    show(inspected())
    panel = page.locator("section").filter(has_text="of the text stands in the training text")
    panel.get_by_text("said:").first.click()
    panel.get_by_role("button", name="Show in the text").click()
    expect(page.get_by_role("radio", name="Copied")).to_be_checked()
    assert "".join(page.locator("#text .copied").all_text_contents()) == TEXT[4:9]
    source = page.locator("#card blockquote")
    expect(source).to_contain_text("…He said: nothing…")
    expect(source).to_contain_text("book.txt, from character 100; 5 characters copied")


def test_authors(page: Page, show: Show) -> None:
    show(inspected(), "colour=author")
    styles = [token(page, number).get_attribute("style") for number in (0, 15, 16)]
    assert styles[0] == styles[1] != styles[2]
    token(page, 20).click()
    expect(page.locator("#card").get_by_role("list", name="Authors")).to_contain_text("Dickens80%")
    panel = page.locator("#panels section").filter(has_text="Who wrote the text")
    expect(panel.get_by_role("list", name="Authors")).to_contain_text("75%")
    panel.get_by_text("As a table").click()
    expect(panel.get_by_role("row", name="Dickens").get_by_role("cell")).to_have_text(
        ["25%", "45%", "2.500", "2.125"]
    )


def test_passages_that_were_not_judged_and_a_long_name(page: Page, show: Show) -> None:
    data = inspected()
    long_name = data["authors"]["names"][0] = "the_letters_and_novels_of_" * 8
    del data["authors"]["passages"][1]
    data["authors"]["passages"][0]["probabilities"] = [0.9985, 0.0015]
    page.set_viewport_size({"width": 390, "height": 800})
    show(data, "colour=author")
    assert colour(page, 16) == swatch(page, "not judged") != colour(page, 15)
    expect(page.locator(".legend")).to_contain_text(long_name)
    token(page, 4).click()
    expect(page.locator("#card").get_by_role("list", name="Authors")).to_contain_text("99.9%")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    name = page.locator("#card").get_by_text(long_name)
    assert name.evaluate("e => e.scrollWidth <= e.clientWidth")


def test_guesses_beneath_the_tokens(page: Page, show: Show) -> None:
    show(inspected())
    page.get_by_label("Guesses", exact=True).check()
    expect(token(page, 4)).to_have_attribute("data-guesses", 's\ny\n↵\n␣\n"')
    assert token(page, 0).get_attribute("data-guesses").split() == []
    text, beneath = (
        token(page, 4).evaluate(f"(e) => getComputedStyle(e, {pseudo}).height")
        for pseudo in ("null", "'::after'")
    )
    assert 5 * 12 < float(beneath.removesuffix("px")) < float(text.removesuffix("px"))
    page.reload()
    expect(page.get_by_label("Guesses", exact=True)).to_be_checked()
    lines = [token(page, number).bounding_box()["y"] for number in (0, 15, 16)]
    assert lines[0] == lines[1] < lines[2]


HOSTILE = (
    "</script><script>document.title = 'taken'</script><!-- <script> ]]> &amp; \"'` \\u003c\n"
    "\0\t\r\x1b\u2028\u2029\ud800 \udc00 👩‍👩‍👧 e\u0301\u0301 שלום \u202e العربية\u0000"
)


@pytest.mark.parametrize("guesses", ["", "&guesses"])
def test_any_text(page: Page, show: Show, guesses: str) -> None:
    data = inspected(HOSTILE)
    data["novelty"]["passages"][0]["before"] = data["name"] = "<img src=x onerror=alert(1)>"
    show(data, f"colour=copied{guesses}")
    codes = page.locator("#text").evaluate("e => Array.from(e.textContent, c => c.codePointAt(0))")
    assert codes == [ord(c) for c in HOSTILE if not guesses or c != "\n"]
    page.locator("#text").focus()
    page.keyboard.press("End")
    expect(page.locator("#card").get_by_role("heading")).to_contain_text("U+0000")
    token(page, 5).click()
    expect(page.locator("#card blockquote")).to_contain_text("<img src=x")
    assert page.title() == page.locator("h1").text_content() == data["name"]


def test_a_long_text_is_built_where_it_is_seen(page: Page, show: Show) -> None:
    text = ("The ferry is late again, and nobody on the quay minds it.\n" * 500)[:-1]
    show(inspected(text))
    spans = page.locator("#text .token")
    assert page.locator("#text").text_content() == text
    assert 1000 <= spans.count() < 10_000
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => document.querySelector('.lines:last-child .token')")
    page.wait_for_function("() => !document.querySelector('.lines:first-child .token')")
    page.locator(".features").get_by_role("button").first.click()
    expect(page.get_by_role("radio", name="Unit")).to_be_checked()
    expect(page.locator(".block").last).to_be_in_viewport()  # the text keeps its place
    choose(page, "Rank")
    expect(page.locator(".block").last.locator(".band-3").first).to_be_attached()
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    expect(page.locator(".block:not(.beyond) .token").nth(20_000)).to_be_attached()
    expect(page.locator(".stop")).to_have_text(f"Printed to token 20,880 of {len(text):,}.")
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert spans.count() < 10_000


def test_a_long_line_is_not_broken(page: Page, show: Show) -> None:
    """All lines of a paragraph of equal words are as long, but for the last."""
    show(inspected("a " * 3000 + "\nb"))
    blocks = page.locator(".lines:first-child .block")
    assert blocks.count() == 2
    blocks.nth(1).evaluate("e => e.scrollIntoView()")
    for number in (0, 1):
        expect(blocks.nth(number).locator(".token").first).to_be_attached()
    places = blocks.locator(".token").evaluate_all(
        "all => all.map((e) => e.getBoundingClientRect()).map(({ top, right }) => [top, right])"
    )
    *ends, _ = dict(places).values()  # where each line ends
    assert len(ends) > 50
    assert max(ends) - min(ends) < 40


def test_what_was_not_measured_is_not_offered(page: Page, show: Show) -> None:
    show(
        inspected(
            units=[],
            every_unit=None,
            features=[],
            saturation=[],
            memory=None,
            novelty=None,
            novelty_missing="The training text is gone.",
            authors=None,
        ),
        "colour=unit&unit=1.1.h",
    )
    expect(page.locator(".segments span")).to_have_text(["Surprisal", "Rank"])
    expect(page.get_by_role("radio", name="Surprisal")).to_be_checked()
    expect(page.locator("#panels h2")).to_have_text(
        ["Surprisal", "Rank", "What units watch", "Copied"]
    )
    expect(page.locator("#panels")).to_contain_text("No feature occurs often enough")
    expect(page.locator("#panels")).to_contain_text("The training text is gone.")


def test_it_fits_a_phone(page: Page, show: Show) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    show(inspected())
    page.get_by_label("Guesses", exact=True).check()
    for name in ALL_COLOURS:
        choose(page, name)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    expect(page.locator("#card")).to_be_hidden()
    token(page, 4).click()
    expect(page.locator("#card")).to_be_in_viewport()
    page.get_by_role("button", name="Close").click()
    page.get_by_role("button", name="Figures").click()
    expect(page.locator("#text")).to_be_hidden()
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
    page.locator(".features").get_by_role("button").first.click()
    expect(page.locator("#text")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(page: Page, show: Show, scheme: Any) -> None:
    """Nothing is found by axe-core."""
    if not AXE.exists():
        pytest.skip("axe-core is missing: npm install --prefix .axe --no-save axe-core@4")
    page.emulate_media(color_scheme=scheme)
    show(inspected())
    # The debugger may run scripts that the content security policy forbids to the page.
    page.evaluate(AXE.read_text("utf-8"))
    token(page, 5).click()
    for name in ALL_COLOURS:
        choose(page, name)
        violations = page.evaluate("() => axe.run().then((results) => results.violations)")
        assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == []
