"""Steps of a person who writes on the page."""

import json
import socket
import threading
from contextlib import suppress
from typing import Any

from playwright.sync_api import Locator, Page, expect


class Cable:
    """Connections to a server that can be cut."""

    def __init__(self, url: str) -> None:
        host, port = url.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._is_cut = False
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._is_cut = True
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self._is_cut = False

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if self._is_cut:
                client.close()
                continue
            server = socket.create_connection(self._server)
            self._ends += [client, server]
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def open_desk(page: Page, url: str, model: str, **options: Any) -> Locator:
    """Open the view Write with a model and options; return the text field, with the focus."""
    page.add_init_script(
        "localStorage['textgen.settings'] ??= "
        f"JSON.stringify({{model: '{model}', values: {json.dumps(options)}}})"
    )
    page.goto(url)
    expect(page.get_by_label("Model", exact=True)).to_have_value(model)
    field = field_of(page)
    field.click()
    return field


def field_of(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Text", exact=True)


def text_of(page: Page) -> str:
    return field_of(page).evaluate("field => field.textContent")


def expect_text(page: Page, text: str) -> None:
    """Wait until the field has exactly this text; Playwright's own test ignores white space."""
    page.wait_for_function(
        "text => document.querySelector('.pane .text').textContent === text", arg=text
    )


def expect_longer(page: Page, length: int) -> None:
    """Wait until the field has more characters."""
    page.wait_for_function(
        "length => document.querySelector('.pane .text').textContent.length > length", arg=length
    )


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def write(page: Page, button: str = "Write") -> str:
    """Let the model write; return what is in the field at the end."""
    press(page, button)
    expect(page.get_by_role("button", name="Write", exact=True)).to_be_visible()
    return text_of(page)


def set_caret(page: Page, position: int) -> None:
    """Put the caret at a position of a text in one line, with the keyboard."""
    field_of(page).focus()
    page.keyboard.press("Control+Home")
    for _ in range(position):
        page.keyboard.press("ArrowRight")


def unfold(page: Page, section: str) -> Locator:
    """Open a section of the tools; return it."""
    details = page.locator("details", has=page.get_by_role("heading", name=section, exact=True))
    if details.get_attribute("open") is None:
        details.locator("summary").click()
    return details


def set_option(page: Page, label: str, value: str) -> None:
    unfold(page, "Settings")
    page.get_by_label(label, exact=True).fill(value)
    page.get_by_label(label, exact=True).blur()


def highlighted(page: Page, name: str) -> list[str]:
    """Return the parts of the text that a highlight colours."""
    return page.evaluate(
        """async name => {
          await new Promise(requestAnimationFrame);
          await new Promise(requestAnimationFrame);
          const ranges = [...(CSS.highlights.get(name) ?? [])];
          return ranges.map(({startContainer, startOffset, endContainer, endOffset}) => {
            const range = document.createRange();
            range.setStart(startContainer, startOffset);
            range.setEnd(endContainer, endOffset);
            return range.toString();
          });
        }""",
        name,
    )
