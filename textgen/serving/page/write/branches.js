// The history of the text: the way to where it is and on from there, and the other ways.

import { html } from "../vendor/htm-preact.module.js";
import { excerpt } from "./characters.js";
import { lengthOf, textOf } from "./pieces.js";

const MOST = 200; // rows; older ones can still be reached by undoing
const KINDS = { start: "Start", edit: "Typed", choice: "Chosen", write: "Written" };

export function Branches({ desk }) {
  const { history } = desk.session;
  const path = history.path();
  const here = path.indexOf(history.current);
  // Typing in a row is one step, unless there are other ways from its midst.
  const rows = path.filter(
    (change, index) =>
      index === here ||
      change.kind !== "edit" ||
      change.children.length !== 1 ||
      path[index + 1]?.kind !== "edit",
  );
  return html`
    <p class="hint">
      Every text that was written is kept. Go back to one and write on, or take another way.
    </p>
    <ol class="branches">
      ${rows.slice(-MOST).map(
        (change) => html`
          <li key=${change.id} class=${path.indexOf(change) > here ? "ahead" : ""}>
            <button
              type="button"
              aria-current=${change === history.current ? "step" : null}
              onClick=${() => desk.goTo(change)}
            >
              <span class=${`kind is-${change.kind}`}>${KINDS[change.kind]}</span>${" "}
              <span dir="auto">${nameOf(change)}</span>
            </button>
            <${Ways} desk=${desk} change=${change} />
          </li>
        `,
      )}
    </ol>
  `;
}

/** The other ways that were taken at the same place. */
function Ways({ desk, change }) {
  const { history } = desk.session;
  const ways = history.siblings(change);
  if (ways.length < 2) return null;
  const index = ways.indexOf(change);
  const go = (by) => desk.goTo(history.leaf(ways[(index + by + ways.length) % ways.length]));
  return html`
    <span class="ways">
      <button type="button" aria-label="The way before" onClick=${() => go(-1)}>‹</button>
      <span>${index + 1} of ${ways.length}</span>
      <button type="button" aria-label="The next way" onClick=${() => go(1)}>›</button>
    </span>
  `;
}

function nameOf({ kind, inserted, removed, made }) {
  if (kind === "start") return "";
  const text = excerpt(textOf(inserted), 40);
  if (text) return made?.temperature === undefined ? text : `${text} (at ${made.temperature})`;
  return lengthOf(inserted) ? "white space" : lengthOf(removed) ? "removed text" : "nothing";
}
