// The text that is being written: its pieces, its history, and the model at work on it.
//
// Everything that changes the text goes through here. Listeners are told of each change as
// `{at, removed, inserted}` (a position, a number of characters, a text), and with null when
// something else changed, such as whether a model is writing.

import { isAbort } from "../api.js";
import { generate } from "./generate.js";
import { History } from "./history.js";
import { endOfModelText, lengthOf, noTokens, slice, splice, textOf, withTokens } from "./pieces.js";

const FLUSH = 33; // milliseconds between two looks of the reader at a text that grows

export class Session {
  #api;
  #listeners = new Set();
  #writing = null;

  constructor(api) {
    this.#api = api;
    this.open(null);
  }

  /** Go on with a stored text, or with an empty one. */
  open(saved) {
    this.stop();
    const before = this.text ?? "";
    this.id = saved?.id ?? null; // of the stored text
    this.version = saved?.version ?? 0;
    this.history = new History(saved?.history);
    this.pieces = saved?.pieces ?? [];
    this.text = textOf(this.pieces);
    this.problem = null;
    this.changes = 0; // how often the text or its history changed; to know what to store
    this.#tell({ at: 0, removed: before.length, inserted: this.text });
    this.#tell(null);
  }

  /** Call `listener` with each change; return a function that ends this. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get isWriting() {
    return this.#writing !== null;
  }

  /** Where the next character goes while a model writes. */
  get writingAt() {
    return this.#writing && this.#writing.node.at + lengthOf(this.#writing.node.inserted);
  }

  /** Show an error, or null to hide it: `{message, param}`. */
  complain(problem) {
    this.problem = problem;
    this.#tell(null);
  }

  /** Replace a part of the text by what a person typed. */
  edit(start, end, text) {
    this.stop();
    const by = this.history.wrote(this.history.current) ? "edit" : "prompt";
    const inserted = text ? [{ text, by, tokens: null }] : [];
    this.history.edit(this.pieces, start, end, inserted);
    this.#change(start, end - start, inserted);
    this.#tell(null);
  }

  /** Replace a part of the text by one of the tokens or texts that a model proposed. */
  choose(start, end, text, made = null) {
    this.stop();
    const inserted = [{ text, by: "model", tokens: null }];
    this.history.add("choice", start, slice(this.pieces, start, end), inserted, { made });
    this.#change(start, end - start, inserted);
    this.#tell(null);
  }

  /**
   * Let a model write at a position, instead of the text up to `end`.
   *
   * @param {object} request what `generate` needs, without the prompt
   * @returns {Promise<void>} when it has ended; errors become `problem`
   */
  async write(request, start, end = start) {
    this.stop();
    this.problem = null;
    const stopper = new AbortController();
    const prompt = this.text.slice(0, start);
    const removed = slice(this.pieces, start, end);
    const node = this.history.add("write", start, removed, [], { made: { ...request } });
    this.#change(start, end - start, []);
    const writing = { node, stopper, text: "", tokens: noTokens(), timer: null };
    this.#writing = writing;
    this.#tell(null);
    try {
      for await (const part of generate(this.#api, { ...request, prompt }, stopper.signal)) {
        if (this.#writing !== writing) return;
        node.made.weights = part.weights;
        writing.text += part.text;
        writing.tokens.starts.push(...part.tokens.starts);
        writing.tokens.scores.push(...part.tokens.scores);
        writing.timer ??= setTimeout(() => this.#flush(writing), FLUSH);
      }
    } catch (error) {
      if (this.#writing === writing && !isAbort(error)) this.problem = error;
    }
    if (this.#writing === writing) this.#finish(true);
  }

  /** Stop at once: what is shown stays, and nothing more comes. */
  stop() {
    if (this.#writing) this.#finish(false);
  }

  /**
   * Draw again what the model wrote: from `caret` if it stands within it, else the last text.
   *
   * @returns {Promise<void>|null} null if there is nothing to draw again
   */
  again(request, caret) {
    this.stop();
    const found = this.againFrom(caret);
    if (!found) return null;
    if (found.node) this.goTo(this.history.parent(found.node));
    return this.write(request, found.start, found.end);
  }

  /** Return what `again` would draw again: `{start, end, node}`, or null. */
  againFrom(caret) {
    const { current } = this.history;
    const end = endOfModelText(this.pieces, caret);
    const stop = current.at + lengthOf(current.inserted);
    const isWhole = caret === stop || end === caret || (caret === current.at && end === stop);
    if (current.kind === "write" && isWhole) {
      return { start: current.at, end: current.at + lengthOf(current.removed), node: current };
    }
    return end > caret ? { start: caret, end, node: null } : null;
  }

  undo() {
    const above = this.history.parent(this.history.current);
    if (above) this.goTo(above);
  }

  redo() {
    const { next } = this.history.current;
    if (next !== null) this.goTo(this.history.nodes[next]);
  }

  /** Go to the text after a change. */
  goTo(change) {
    this.stop();
    const pieces = this.history.go(this.pieces, change);
    const difference = differenceOf(this.text, textOf(pieces));
    this.pieces = pieces;
    this.text = textOf(pieces);
    this.changes += 1;
    this.#tell(difference);
    this.#tell(null);
  }

  /** Keep a text that was written beside this one as another way to go from `parent`. */
  keep(parent, at, text, made) {
    const inserted = [{ text, by: "model", tokens: null }];
    const kept = this.history.add("write", at, [], inserted, { made, parent, follow: false });
    this.changes += 1;
    this.#tell(null);
    return kept;
  }

  /** Take the tokens that a model read in the text up to `end`. */
  learnTokens(tokens, end) {
    if (this.isWriting) return; // its piece must stay the one in the history
    this.pieces = withTokens(this.pieces, tokens, end);
    this.#tell(null);
  }

  #flush(writing) {
    writing.timer = null;
    const { node, text, tokens } = writing;
    writing.text = "";
    writing.tokens = noTokens();
    const [grown = { text: "", by: "model", tokens: noTokens() }] = node.inserted;
    const stop = node.at + grown.text.length;
    const { starts, ends, scores } = grown.tokens;
    for (let i = 0; i < tokens.starts.length; i += 1) {
      if (starts.length) ends[starts.length - 1] = tokens.starts[i];
      starts.push(tokens.starts[i]);
      ends.push(0);
      scores.push(tokens.scores[i]);
    }
    grown.text += text;
    if (starts.length) ends[starts.length - 1] = grown.text.length;
    // The piece is shared by the text and its history, and grows in both.
    if (!node.inserted.length && grown.text) {
      node.inserted = [grown];
      this.pieces = splice(this.pieces, node.at, 0, node.inserted);
    }
    this.text = this.text.slice(0, stop) + text + this.text.slice(stop);
    this.changes += 1;
    if (text) this.#tell({ at: stop, removed: 0, inserted: text });
  }

  #finish(all) {
    const writing = this.#writing;
    clearTimeout(writing.timer);
    if (all && writing.timer !== null) this.#flush(writing);
    this.#writing = null;
    writing.stopper.abort();
    if (!writing.node.inserted.length) {
      // Nothing came: what was there before comes back.
      const { id } = writing.node;
      this.goTo(this.history.parent(writing.node));
      this.history.drop(id);
    }
    this.#tell(null);
  }

  #change(at, removed, inserted) {
    this.pieces = splice(this.pieces, at, removed, inserted);
    const text = textOf(inserted);
    this.text = this.text.slice(0, at) + text + this.text.slice(at + removed);
    this.changes += 1;
    this.#tell({ at, removed, inserted: text });
  }

  #tell(change) {
    for (const listener of this.#listeners) listener(change);
  }
}

/** Return the change that makes one text of another. */
export function differenceOf(before, after) {
  const most = Math.min(before.length, after.length);
  let start = 0;
  while (start < most && before[start] === after[start]) start += 1;
  let tail = 0;
  while (tail < most - start && before.at(-1 - tail) === after.at(-1 - tail)) tail += 1;
  return {
    at: start,
    removed: before.length - start - tail,
    inserted: after.slice(start, after.length - tail),
  };
}
