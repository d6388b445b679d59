"""A browser for the tests of pages. They are skipped where there is none."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

# Containers have no user namespaces for Chromium's own sandbox. Without the second flag, each
# window has two pages for the suggestions of its address bar.
FLAGS = ["--no-sandbox", "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup"]
NEEDS = "the tests of pages need a browser: apt-get install chromium"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return one browser for the tests of a module.

    While it runs, so does an event loop, in which tests of other modules could not run theirs.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason=NEEDS)
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip(NEEDS)
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Return a page of a fresh browser, without stored texts.

    A script that fails, or anything that the content security policy forbids, fails the test.
    """
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(10_000)
    page = context.new_page()
    wrong = list[str]()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "console",
        lambda message: (
            wrong.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    yield page
    context.close()
    assert wrong == []
