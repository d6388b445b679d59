// The texts kept in this browser, and what can be done with the one on the desk.

import { html, useEffect, useState } from "../vendor/htm-preact.module.js";
import { excerpt } from "./characters.js";
import { download, linkTo } from "./link.js";
import { textOf } from "./pieces.js";

export function Texts({ desk }) {
  const { session } = desk;
  const [titles, setTitles] = useState([]);
  const [shared, share] = useState(null);
  useEffect(() => {
    desk.shelf.list().then(setTitles, () => setTitles([]));
  }, [session.id, session.version, desk.removed]);
  const { last } = desk;
  return html`
    <p class="buttons">
      <button type="button" onClick=${() => desk.open()}>New text</button>
      <button
        type="button"
        disabled=${!session.text}
        onClick=${() => download(session.text, excerpt(session.text))}
      >
        Download
      </button>
      <button type="button" disabled=${!last} onClick=${() => share(linkOf(desk))}>Share</button>
    </p>
    ${shared && html`<${Shared} ...${shared} />`}
    <ul class="titles">
      ${titles.map(
        (title) => html`
          <li key=${title.id}>
            <button
              type="button"
              aria-current=${title.id === session.id ? "true" : null}
              onClick=${() => desk.open(title)}
            >
              <span dir="auto">${title.title}</span>
              <span class="hint">
                ${title.length.toLocaleString("en")} characters,${" "}
                ${new Date(title.time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}
              </span>
            </button>
            <button
              type="button"
              aria-label=${`Delete ${title.title}`}
              onClick=${() => confirm(`Delete “${title.title}”?`) && desk.remove(title)}
            >
              ×
            </button>
          </li>
        `,
      )}
    </ul>
    <p class="hint">Texts are kept in this browser alone.</p>
  `;
}

/** Return the link for what the model wrote last, or why there is none. */
function linkOf(desk) {
  const { history, pieces } = desk.session;
  const { last } = desk;
  const text = textOf(history.piecesAt(pieces, last));
  const link = linkTo(last.made, text.slice(0, last.at));
  return link ? { link } : { problem: "What stands before it is too long for a link." };
}

function Shared({ link, problem }) {
  const [isCopied, setCopied] = useState(false);
  if (problem) return html`<p class="warn" role="alert">${problem}</p>`;
  // The clipboard is there only for this computer's addresses and with HTTPS.
  const copy = () => navigator.clipboard.writeText(link).then(() => setCopied(true));
  return html`
    <div class="control">
      <label for="shared">Link to what the model wrote last</label>
      <input id="shared" readonly value=${link} onFocus=${(event) => event.target.select()} />
      <p class="hint">
        It has the prompt, the settings and the seed, and gives the same text again, with this model.
      </p>
      ${navigator.clipboard &&
      html`<button type="button" onClick=${copy}>${isCopied ? "Copied" : "Copy"}</button>`}
    </div>
  `;
}
