// What a model proposes at a place of the text: the likeliest tokens, or how the text may go on.
//
// One list is shown at a time, beside the place. The keys go to the text field all the while.

import { isAbort } from "../api.js";
import { store, stored } from "../stored.js";
import { Told } from "../told.js";
import { likeliest, suggest } from "./generate.js";
import { tokenAt } from "./pieces.js";

const KEY = "textgen.suggest";
const DWELL = 150; // milliseconds that the pointer rests on a token
const LEAVE = 300; // milliseconds to get from the token to the list
const PAUSE = 500; // milliseconds without typing, before something is suggested
const COUNT = 4;
const TOKENS = { word: 6 }; // of a suggestion
const MANY_TOKENS = 24; // if they are characters or bytes
const AHEAD = 100; // characters to read beyond a token, so that the next ones are known, too
/** Names of tokens that no text can be inserted for. */
const NO_TEXT = /^(<\|endoftext\|>|bytes:.+|\ufffd)$/;

/**
 * @typedef {object} Item
 * @property {string} text
 * @property {number|null} probability
 * @property {boolean} isHere whether it stands in the text there
 * @property {boolean} isText whether it can be taken
 *
 * @typedef {object} List
 * @property {"likeliest"|"suggestions"} kind
 * @property {number} start the place
 * @property {number} end
 * @property {Item[]} items
 * @property {number} active the index of the one that a key takes
 * @property {boolean} takesKeys whether keys choose, rather than the pointer
 * @property {object|null} passage the copied passage at this place
 */

export class Proposals extends Told {
  #desk;
  #stopper = null;
  #timer = null;
  #leaving = null;
  #pointed = null; // the token under the pointer
  #changes = 0;

  constructor(desk) {
    super();
    this.#desk = desk;
    /** @type {List|null} */
    this.list = null;
    this.suggests = stored(KEY) ?? false; // after a pause in typing
  }

  setSuggests(value) {
    this.suggests = value;
    store(KEY, value);
    if (value) this.suggest();
    else this.close();
  }

  /** Show how the text may go on at the caret. */
  async suggest() {
    const { session, settings, api, caret } = this.#desk;
    const { model } = settings;
    if (session.isWriting || !model) return;
    const signal = this.#begin();
    const { seed: _seed, until_sentence: _until, ...request } = settings.request();
    request.max_tokens = TOKENS[settings.levels[model]] ?? MANY_TOKENS;
    request.prompt = session.text.slice(0, caret.end);
    await this.#show(signal, async () => {
      const texts = await suggest(api, request, COUNT, signal);
      const items = texts.map((text) => ({ text, probability: null, isHere: false, isText: true }));
      return { kind: "suggestions", start: caret.end, end: caret.end, items, takesKeys: true };
    });
  }

  /** Show the likeliest tokens at the caret, for the keyboard. */
  async lookAtCaret() {
    const { end } = this.#desk.caret;
    await this.#look(end, true);
  }

  /** Follow the pointer over the text; `position` is null where there is none. */
  point(position) {
    const { session, see, settings, highlights } = this.#desk;
    if (!see.pointer || session.isWriting || this.list?.takesKeys) return;
    if (position === null) {
      this.leave();
      return;
    }
    const known = tokenAt(session.pieces, position, settings.model);
    const token = known ?? { start: position, end: position + 1 };
    if (this.#pointed?.start === token.start) {
      this.stay();
      return;
    }
    this.#pointed = token;
    highlights.point(token);
    clearTimeout(this.#leaving);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(position, false), DWELL);
  }

  /** Close the list soon, unless the pointer reaches it. */
  leave() {
    clearTimeout(this.#timer);
    if (!this.#pointed || this.list?.takesKeys) return;
    clearTimeout(this.#leaving);
    this.#leaving = setTimeout(() => this.close(), LEAVE);
  }

  stay() {
    clearTimeout(this.#leaving);
  }

  close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#leaving);
    this.#stopper?.abort();
    this.#pointed = null;
    this.#desk.highlights?.point(null);
    if (!this.list) return;
    this.list = null;
    this.tell();
  }

  /** Make another one of the list the one that a key takes. */
  move(by) {
    const { list } = this;
    const active = (list.active + by + list.items.length) % list.items.length;
    this.list = { ...list, active };
    this.#desk.say(nameOf(list.items[active], active, list.items.length));
    this.tell();
  }

  /** Take one of the list. */
  take(index = this.list.active) {
    const { list } = this;
    const { text, isText } = list.items[index];
    if (!isText) return;
    this.close();
    if (list.kind === "suggestions") {
      this.#desk.accept(text, { model: this.#desk.settings.model });
      this.#desk.say(text);
    } else this.#desk.take(list, text);
  }

  /** Follow a change of the text. */
  changed() {
    this.close();
    if (this.suggests && !this.#desk.isWriting) {
      this.#timer = setTimeout(() => this.suggest(), PAUSE);
    }
  }

  /** Follow the caret. */
  moved() {
    const { list } = this;
    if (list?.takesKeys && this.#desk.caret.end !== list.caret) this.close();
  }

  async #look(position, takesKeys) {
    const { session, settings, see, api } = this.#desk;
    const { model } = settings;
    if (session.isWriting || !model) return;
    const signal = this.#begin();
    await this.#show(signal, async () => {
      const { text } = session;
      const known = () => tokenAt(session.pieces, position, model);
      if (position < text.length && !known()) {
        await see.readTokens(Math.min(position + AHEAD, text.length), signal);
      }
      const token = known() ?? { start: position, end: position };
      if (!takesKeys) this.#pointed = token;
      const found = await likeliest(api, model, text.slice(0, token.start), signal);
      const here = text.slice(token.start, token.end);
      if (!signal.aborted) this.#desk.highlights?.point(token);
      const items = found.map(({ name, probability }) => itemOf(name, probability, here));
      if (here && !items.some(({ isHere }) => isHere)) {
        const known = typeof token.score === "number" ? Math.exp(token.score) : null;
        items.push(itemOf(here, known, here));
      }
      const { start, end } = token;
      const passage = see.passageAt(position);
      return { kind: "likeliest", start, end, items, takesKeys, passage };
    });
  }

  #begin() {
    clearTimeout(this.#timer);
    clearTimeout(this.#leaving);
    this.#stopper?.abort();
    this.#stopper = new AbortController();
    this.#changes = this.#desk.session.changes;
    return this.#stopper.signal;
  }

  async #show(signal, find) {
    try {
      const list = await find();
      if (signal.aborted || this.#desk.session.changes !== this.#changes) return;
      if (!list.items.length) return;
      const { items, kind } = list;
      this.list = { passage: null, ...list, active: 0, caret: this.#desk.caret.end };
      if (list.takesKeys) {
        const what = kind === "suggestions" ? "suggestions" : "likely tokens";
        this.#desk.say(`${items.length} ${what}. ${nameOf(items[0], 0, items.length)}`);
      }
      this.tell();
    } catch (error) {
      if (!isAbort(error) && !signal.aborted) this.#desk.session.complain(error);
    }
  }
}

function itemOf(text, probability, here) {
  return { text, probability, isHere: text === here, isText: !NO_TEXT.test(text) };
}

/** Return what a screen reader says of an item. */
function nameOf({ text, probability }, index, count) {
  const share = probability === null ? "" : `, ${percent(probability)}`;
  return `${index + 1} of ${count}: ${visible(text)}${share}`;
}

export function percent(probability) {
  const digits = probability >= 0.1 ? 0 : probability >= 0.001 ? 1 : 3;
  return `${(100 * probability).toFixed(digits)} %`;
}

/** Return a text in which white space can be seen. */
export function visible(text) {
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ +| +$/g, (spaces) =>
    "␣".repeat(spaces.length),
  );
}
