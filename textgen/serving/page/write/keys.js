// What keys do.

import { html } from "../vendor/htm-preact.module.js";

const IS_MAC = /^(Mac|iP)/.test(navigator.platform);
/** The names of keys that go with others. On a Mac, Alt with a letter types another letter. */
export const CTRL = IS_MAC ? "⌘" : "Ctrl";
export const ALT = IS_MAC ? "Ctrl+Option" : "Alt";

const KEYS = [
  [`${CTRL}+Enter`, "let the model write at the caret, or stop it"],
  ["Esc", "stop; close a list"],
  [`${CTRL}+Z`, "undo; every change can be undone"],
  [`${CTRL}+Shift+Z`, "redo"],
  [`${ALT}+A`, "again: draw another text, from the caret if it stands in the model’s text"],
  [`${ALT}+S`, "suggest how to go on"],
  [`${ALT}+L`, "show the likeliest tokens at the caret"],
  ["↑ and ↓", "in a list: choose another"],
  ["Tab", "in a list: take it (Enter, too, for tokens)"],
];

export function Keys() {
  return html`
    <dl class="keys">
      ${KEYS.map(([keys, what]) => html`<div><dt>${keys}</dt><dd>${what}</dd></div>`)}
    </dl>
    <p class="hint">Typing stops the model, too.</p>
  `;
}

/** Do what a key asks for. */
export function keyDown(desk, event) {
  const action = event.isComposing ? null : actionOf(desk, event);
  if (!action) return;
  event.preventDefault();
  action();
}

function actionOf(desk, { key, code, ctrlKey, metaKey, altKey, shiftKey, target }) {
  const { proposals } = desk;
  const isCommand = (ctrlKey || metaKey) && !altKey;
  const isInText = target === desk.editor?.element;
  if (isCommand && key === "Enter") return () => (desk.isWriting ? desk.stop() : desk.write());
  if (key === "Escape" && (desk.isWriting || proposals.list)) return () => desk.stop();
  if (altKey && ctrlKey === IS_MAC && !metaKey) {
    // Where Alt makes another character of a letter, the key must do.
    const name = /^[a-z]$/i.test(key) ? `Key${key.toUpperCase()}` : code;
    if (name === "KeyA") return () => desk.again();
    if (name === "KeyS") return () => desk.suggest();
    if (name === "KeyL") return () => desk.lookAtCaret();
  }
  if (!isInText) return null;
  const letter = key.toLowerCase();
  if (isCommand && letter === "z") return () => (shiftKey ? desk.redo() : desk.undo());
  if (isCommand && letter === "y") return () => desk.redo();
  if (!proposals.list?.takesKeys || isCommand || altKey || shiftKey) return null;
  if (key === "ArrowDown") return () => proposals.move(1);
  if (key === "ArrowUp") return () => proposals.move(-1);
  if (key === "Tab") return () => proposals.take();
  if (key === "Enter" && proposals.list.kind === "likeliest") return () => proposals.take();
  return null;
}
