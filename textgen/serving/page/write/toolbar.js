// The buttons above the text.

import { html } from "../vendor/htm-preact.module.js";
import { useTold } from "../told.js";
import { ALT, CTRL } from "./keys.js";

export function Toolbar({ desk }) {
  useTold(desk.proposals);
  const { session, settings, proposals } = desk;
  const { current } = session.history;
  const canWrite = Boolean(settings.model);
  // The field keeps its caret, but a click would take the focus from it.
  const keepFocus = (event) => event.preventDefault();
  const button = (title, keys, action, isAble = true) => html`
    <button
      type="button"
      title=${`${title} (${keys})`}
      disabled=${!isAble}
      onMouseDown=${keepFocus}
      onClick=${action}
    >
      ${title}
    </button>
  `;
  return html`
    <div class="tools" role="group" aria-label="Writing">
      <label class="unseen" for="model">Model</label>
      <select
        id="model"
        value=${settings.model}
        onChange=${(event) => settings.choose({ model: event.target.value })}
      >
        ${(settings.models ?? []).map((name) => html`<option value=${name}>${name}</option>`)}
      </select>
      ${session.isWriting
        ? html`<button
            type="button"
            class="main"
            title="Stop (Esc)"
            onMouseDown=${keepFocus}
            onClick=${() => desk.stop()}
          >
            Stop
          </button>`
        : html`<button
            type="button"
            class="main"
            title=${`Let the model write at the caret (${CTRL}+Enter)`}
            disabled=${!canWrite}
            onMouseDown=${keepFocus}
            onClick=${() => desk.write()}
          >
            Write
          </button>`}
      ${button("Again", `${ALT}+A`, () => desk.again(), canWrite && session.canDrawAgain(desk.caret.end))}
      ${button("Undo", `${CTRL}+Z`, () => desk.undo(), current.parent !== null)}
      ${button("Redo", `${CTRL}+Shift+Z`, () => desk.redo(), current.next !== null)}
      ${button("Likeliest", `${ALT}+L`, () => desk.lookAtCaret(), canWrite)}
      <button
        type="button"
        aria-pressed=${proposals.suggests}
        title=${`Suggest how to go on after a pause (${ALT}+S suggests now)`}
        onMouseDown=${keepFocus}
        onClick=${() => proposals.setSuggests(!proposals.suggests)}
      >
        Suggest
      </button>
    </div>
  `;
}
