// The shell: the header, the two views, and the dialog for the key.

import { html, render, useEffect, useRef, useState } from "./vendor/htm-preact.module.js";
import { api, onKeyNeeded } from "./api.js";
import { Write } from "./write/write.js";

const VIEWS = { write: "Write", learn: "Learn" };

function App() {
  const [place, setPlace] = useState(placeOf(location.hash));
  useEffect(() => {
    const change = () => setPlace(placeOf(location.hash));
    addEventListener("hashchange", change);
    return () => removeEventListener("hashchange", change);
  }, []);
  useEffect(() => {
    document.title = `${VIEWS[place.view]} – textgen`;
  }, [place.view]);
  return html`
    <header class="shell">
      <span class="name">textgen</span>
      <nav aria-label="Views">
        ${Object.entries(VIEWS).map(
          ([view, title]) =>
            html`<a href="#${view}" aria-current=${place.view === view ? "page" : null}>${title}</a>`,
        )}
      </nav>
    </header>
    <${KeyDialog} />
    <main>
      ${place.view === "learn"
        ? html`<${Learn} place=${place} />`
        : html`<${Write} api=${api} place=${place} />`}
    </main>
  `;
}

/** The view Learn, whose files are loaded when it is first opened. */
function Learn() {
  const [view, setView] = useState({});
  useEffect(() => {
    import("./learn/learn.js").then(setView, () => setView({ failed: true }));
  }, []);
  if (view.failed) return html`<p role="alert">The server cannot be reached. Load the page again.</p>`;
  return view.Learn && html`<${view.Learn} api=${api} />`;
}

/** Asks for the key when the server wants one. */
function KeyDialog() {
  const dialog = useRef(null);
  const field = useRef(null);
  const answer = useRef(() => {});
  const [wrong, setWrong] = useState(false);
  useEffect(() => {
    onKeyNeeded((isWrong) => {
      setWrong(isWrong);
      field.current.value = "";
      dialog.current.showModal();
      return new Promise((resolve) => (answer.current = resolve));
    });
  }, []);
  const use = (event) => {
    event.preventDefault();
    answer.current(field.current.value);
    dialog.current.close();
  };
  return html`
    <dialog ref=${dialog} aria-labelledby="key-title" onClose=${() => answer.current(null)}>
      <form onSubmit=${use}>
        <h2 id="key-title">The server asks for a key</h2>
        ${wrong && html`<p class="warn">The key that was used is not right.</p>`}
        <label for="key">Key</label>
        <input id="key" type="password" autocomplete="off" required ref=${field} />
        <p class="hint">It was given to the server as --api-key, and is kept in this browser.</p>
        <p class="buttons">
          <button type="submit" class="main">Use this key</button>
          <button type="button" onClick=${() => dialog.current.close()}>Cancel</button>
        </p>
      </form>
    </dialog>
  `;
}

/** Split a hash such as `#write?model=book` into the view and its settings. */
function placeOf(hash) {
  const [name, query = ""] = hash.slice(1).split(/\?(.*)/s);
  return { view: name in VIEWS ? name : "write", query: new URLSearchParams(query) };
}

render(html`<${App} />`, document.getElementById("page"));
