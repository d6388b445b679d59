"""An exported page in a browser, opened from disk."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exported import make_run, page_of
from helpers import save_random_weights

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

from textgen.preprocess.tokenizers import CharacterTokenizer, Tokenizer, WordTokenizer
from textgen.runs.folder import Run
from textgen.sampling.sampler import Sampler

AXE = Path(__file__).parents[2] / ".axe/node_modules/axe-core/axe.min.js"
HOSTILE = "</script><script>alert(1)</script><!--<script>'\"`${alert(1)}\0\u2028&lt;\ud800"
Show = Callable[..., None]


@pytest.fixture
def show(page: Page) -> Show:
    """Open the page of a run; it may read nothing but itself and its worker."""
    path, requests = Path("page.html").absolute(), list[str]()
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))

    def show(run: Run, place: str = "", **options: Any) -> None:
        path.write_bytes(page_of(run, **options))
        page.goto(f"{path.as_uri()}#{place}")
        expect(page.locator("#figures")).to_contain_text("Computed by")
        addresses = {url.partition("#")[0] for url in requests}
        assert {url for url in addresses if not url.startswith("blob:")} == {path.as_uri()}

    return show


def fill(page: Page, **values: Any) -> None:
    for name, value in values.items():
        page.locator(f"#{name.replace('_', '-')}").fill(str(value))


def write(page: Page, **values: Any) -> str:
    """Fill in settings, write, and return the text."""
    fill(page, **values)
    page.get_by_role("button", name="Write").click()
    expect(page.locator("#status")).to_contain_text("seed")
    return page.locator("#written").text_content() or ""


@pytest.mark.parametrize("engine", ["WebAssembly", "JavaScript"])
def test_it_writes(page: Page, show: Show, engine: str) -> None:
    run = make_run("run", tie=False)
    show(run, f"engine={engine.lower()}")
    expect(page.locator("#figures")).to_contain_text(f"Computed by{engine}")
    written = write(page, prompt="The café", temperature=0, length=1000)
    assert written == Sampler([run]).generate("The café", temperature=0, length=1000)
    expect(page.locator("#pane")).to_have_text("The café" + written)
    expect(page.locator("#status")).to_contain_text(re.compile(r"1,000 characters in \d"))


def test_a_seed_gives_the_same_text_again(page: Page, show: Show) -> None:
    show(make_run("run"))
    first = write(page, seed=1, top_k=9, top_p=0.95, min_p=0.01)
    other = write(page, seed=2)
    assert write(page, seed=1) == first != other
    write(page, seed="")
    [seed] = re.findall(r"seed (\d+)", page.locator("#status").text_content() or "")
    text = page.locator("#written").text_content()
    assert write(page, seed=seed) == text
    # The stop text is one that occurs.
    assert write(page, stop="\\n") == (text or "").partition("\n")[0]


def test_writing_is_stopped(page: Page, show: Show) -> None:
    show(make_run("run"))
    fill(page, length=1_000_000)
    page.get_by_role("button", name="Write").click()
    expect(page.locator("#written")).not_to_be_empty()
    page.locator("#temperature").fill("")  # which is not valid
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#status")).to_contain_text("Stopped")
    page.locator("#temperature").fill("1")
    text = page.locator("#written").text_content() or ""
    assert 0 < len(text) < 1_000_000
    assert len(write(page, length=10)) == 10


def test_copies_and_files(page: Page, show: Show) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(make_run("run"))
    expect(page.get_by_role("button", name="Copy")).to_be_disabled()
    text = "The " + write(page, prompt="The ")
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#status")).to_have_text("Copied")
    assert page.evaluate("() => navigator.clipboard.readText()") == text
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert download.value.path().read_text("utf-8") == text


def test_a_text_is_measured(page: Page, show: Show) -> None:
    show(make_run("run"))
    fill(page, given="The lamp saw ж.")
    page.get_by_role("button", name="Measure").click()
    expect(page.locator("#measured")).to_have_text(
        re.compile(
            r"[\d.]+ nats \([\d.]+ bits\) per character, [\d.]+ nats per token, "
            "14 characters predicted, 1 not in the vocabulary$"
        )
    )
    fill(page, given="T")
    page.get_by_role("button", name="Measure").click()
    expect(page.locator("#measured.warn")).to_contain_text("Give more text")


def test_unknown_characters_are_named(page: Page, show: Show) -> None:
    show(make_run("run"))
    fill(page, prompt="Ж")
    page.get_by_role("button", name="Write").click()
    expect(page.locator("#status.warn")).to_contain_text('has never seen "Ж"')


@pytest.mark.parametrize(
    "tokenizer",
    [CharacterTokenizer("".join(sorted(set(HOSTILE)))), WordTokenizer([HOSTILE, "</script>"])],
    ids=["char", "word"],
)
def test_hostile_texts_run_nothing(page: Page, show: Show, tokenizer: Tokenizer) -> None:
    run = replace(make_run("run", level=tokenizer.level), tokenizer=tokenizer)
    run.write_tokenizer()
    save_random_weights(run)
    show(Run.open("run"), title=HOSTILE, licence=HOSTILE)
    assert page.locator("script").count() == 5

    def content(place: str) -> str:
        # Lone surrogates come back as they are only when escaped.
        return str(json.loads(page.locator(place).evaluate("(e) => JSON.stringify(e.textContent)")))

    assert content("#title") == content("#licence") == HOSTILE
    write(page, prompt="</script>", temperature=2, length=100)
    assert set(content("#written")) <= set(HOSTILE)
    assert page.locator("script").count() == 5


def test_nothing_is_sent(browser: Any) -> None:
    """The policy of the page forbids it to its scripts and to those of a worker."""
    Path("page.html").write_bytes(page_of(make_run("run")))
    page = browser.new_page()  # without the check that nothing is forbidden
    page.goto(Path("page.html").absolute().as_uri())
    forbidden = page.evaluate(
        """async () => {
          const fails = (promise) => promise.then(() => false, () => true);
          const script = `fetch("http://127.0.0.1/").then(
            () => postMessage(false), () => postMessage(true))`;
          const worker = new Worker(URL.createObjectURL(new Blob([script])));
          const ofWorker = new Promise((resolve) => {
            worker.onmessage = ({ data }) => resolve(data);
          });
          const inline = document.createElement("script");
          inline.textContent = "window.ran = true";
          document.body.append(inline);
          return [await fails(fetch("http://127.0.0.1/")), await ofWorker, !window.ran];
        }"""
    )
    page.close()
    assert forbidden == [True, True, True]


def test_it_fits_a_phone(page: Page, show: Show) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    show(make_run("run"), title="A_long_title_of_one_word_" * 4, licence="licence" * 40)
    write(page)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= 360
    buttons = page.get_by_role("button").all()
    assert min(button.bounding_box()["height"] for button in buttons) >= 44


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(page: Page, show: Show, scheme: Any) -> None:
    """Nothing is found by axe-core."""
    if not AXE.exists():
        pytest.skip("axe-core is missing: npm install --prefix .axe --no-save axe-core@4")
    page.emulate_media(color_scheme=scheme)
    show(make_run("run"), licence="A licence")
    write(page, prompt="The ")
    page.evaluate(AXE.read_text("utf-8"))  # the debugger may run it in spite of the policy
    violations = page.evaluate("() => axe.run().then((results) => results.violations)")
    assert [(rule["id"], rule["nodes"][0]["html"]) for rule in violations] == []
