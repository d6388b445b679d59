// What is seen in the text: how surprising each token is, and what stands in the training text.

import { isAbort } from "../api.js";
import { store, stored } from "../stored.js";
import { Told } from "../told.js";
import { unitsOf } from "./characters.js";
import { score } from "./generate.js";

const KEY = "textgen.see";
const PAUSE = 700; // milliseconds without a change, before the text is looked at again
const LEAST = 20; // characters of a passage that is called copied

export class See extends Told {
  #desk;
  #timer = null;
  #stopper = null;
  #looked = null; // what was looked at last: the text and the model

  constructor(desk) {
    super();
    this.#desk = desk;
    const kept = stored(KEY) ?? {};
    this.surprise = kept.surprise ?? false;
    this.passages = kept.passages ?? false; // whether copied passages are underlined
    this.pointer = kept.pointer ?? true; // whether the likeliest tokens are shown at the pointer
    this.copied = []; // passages: {start, end, source, before, after}
    this.share = null; // of the text that is copied
    this.problem = null;
    desk.settings.listen(() => this.#later());
  }

  /** Switch `surprise`, `passages` or `pointer`. */
  set(name, value) {
    this[name] = value;
    const { surprise, passages, pointer } = this;
    store(KEY, { surprise, passages, pointer });
    this.#looked = null;
    if (!passages) Object.assign(this, { copied: [], share: null });
    this.problem = null;
    this.#refresh();
    this.#later(0);
  }

  /** Follow a change of the text. */
  changed({ at, removed, inserted }) {
    const stop = at + removed;
    const moved = inserted.length - removed;
    this.copied = this.copied
      .filter(({ start, end }) => end <= at || start >= stop)
      .map((one) =>
        one.start >= stop ? { ...one, start: one.start + moved, end: one.end + moved } : one,
      );
    this.#stopper?.abort();
    this.#later();
  }

  passageAt(position) {
    return this.copied.find(({ start, end }) => start <= position && position < end) ?? null;
  }

  /** Look at the text up to `end` now; return whether its tokens are known then. */
  async readTokens(end, signal) {
    const { session, settings } = this.#desk;
    const { changes } = session;
    const text = session.text.slice(0, end);
    const tokens = await score(this.#desk.api, settings.model, text, signal);
    if (session.changes !== changes || session.isWriting) return false;
    session.learnTokens(tokens, end);
    return true;
  }

  #later(pause = PAUSE) {
    clearTimeout(this.#timer);
    if (this.surprise || this.passages) this.#timer = setTimeout(() => this.#look(), pause);
  }

  async #look() {
    const { session, settings, api } = this.#desk;
    const { text } = session;
    const { model } = settings;
    if (session.isWriting) return this.#later();
    if (!model || (this.#looked?.text === text && this.#looked.model === model)) return undefined;
    this.#looked = { text, model };
    const { signal } = (this.#stopper = new AbortController());
    this.problem = null;
    try {
      if (this.surprise && text) {
        const tokens = await score(api, model, text, signal);
        if (!signal.aborted) session.learnTokens(tokens, text.length);
      }
      if (this.passages) {
        const body = { model, text, least: LEAST };
        const found = text ? await api.post("v1/passages", body, { signal }) : null;
        if (!signal.aborted) this.#show(found, text);
      }
    } catch (error) {
      if (isAbort(error)) return undefined;
      this.problem = error.message;
    }
    return this.#refresh();
  }

  #show(found, text) {
    const toUnits = unitsOf(text);
    this.share = found?.copied ?? null;
    this.copied = (found?.passages ?? []).map(({ start, length, source, before, after }) => {
      const from = toUnits(start);
      return { start: from, end: from + unitsOf(text.slice(from))(length), source, before, after };
    });
  }

  #refresh() {
    this.#desk.highlights?.refresh();
    this.tell();
  }
}
