// The text that is being written: its pieces, its history, and the model at work on it.
//
// Everything that changes the text goes through here. Listeners are told of each change as
// `{at, removed, inserted}` (a position, a number of characters, a text), and with null when
// something else changed, such as whether a model is writing.

import { isAbort } from "../api.js";
import { Told } from "../told.js";
import { generate } from "./generate.js";
import { History } from "./history.js";
import { endOfModelText, lengthOf, noTokens, slice, splice, textOf, withTokens } from "./pieces.js";

const FLUSH = 33; // milliseconds between two looks of the reader at a text that grows

export class Session extends Told {
  #api;
  #writing = null;

  constructor(api) {
    super();
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
    this.isKept = false;
    this.changes = 0; // how often the text or its history changed; to know what to store
    this.tell({ at: 0, removed: before.length, inserted: this.text });
    this.tell();
  }

  /** What can be stored. A text of which nothing has come is not there yet. */
  get saved() {
    const { nodes, current } = this.history;
    const back = this.#writing?.node.inserted.length === 0 ? this.#writing.back : current;
    const pieces = this.history.piecesAt(this.pieces, back);
    return { pieces, history: { nodes, current: back.id } };
  }

  get isWriting() {
    return this.#writing !== null;
  }

  /** How many characters the model has written since it began, while it writes. */
  get written() {
    return this.#writing ? lengthOf(this.#writing.node.inserted) : 0;
  }

  /** Show an error, or null to hide it: `{message, param}`. */
  complain(problem) {
    this.problem = problem;
    this.isKept = false; // whether something was written before it
    this.tell();
  }

  /** Replace a part of the text by what a person typed. */
  edit(start, end, text) {
    this.stop();
    const by = this.history.wrote(this.history.current) ? "edit" : "prompt";
    const inserted = text ? [{ text, by, tokens: null }] : [];
    this.history.edit(this.pieces, start, end, inserted);
    this.#change(start, end - start, inserted);
    this.tell();
  }

  /** Replace a part of the text by one of the tokens or texts that a model proposed. */
  choose(start, end, text, made = null) {
    this.stop();
    const inserted = [{ text, by: "model", tokens: null }];
    this.history.add("choice", start, slice(this.pieces, start, end), inserted, { made });
    this.#change(start, end - start, inserted);
    this.tell();
  }

  /**
   * Let a model write at a position, instead of the text up to `end`.
   *
   * @param {object} request what `generate` needs, without the prompt
   * @param {number} start
   * @param {number} [end]
   * @param {object} [back] the change to go back to if nothing comes
   * @returns {Promise<void>} when it has ended; errors become `problem`
   */
  async write({ logprobs, ...request }, start, end = start, back = null) {
    this.stop();
    this.problem = null;
    back ??= this.history.current;
    const stopper = new AbortController();
    const body = { ...request, logprobs, prompt: this.text.slice(0, start) };
    const removed = slice(this.pieces, start, end);
    const { next } = this.history.current;
    const node = this.history.add("write", start, removed, [], { made: { ...request } });
    this.#change(start, end - start, []);
    const writing = { node, next, back, stopper, text: "", tokens: noTokens(body.model), timer: null };
    this.#writing = writing;
    this.tell();
    try {
      for await (const part of generate(this.#api, body, stopper.signal)) {
        if (this.#writing !== writing) return;
        node.made.weights = part.weights;
        writing.text += part.text;
        writing.tokens.starts.push(...(part.tokens?.starts ?? []));
        writing.tokens.scores.push(...(part.tokens?.scores ?? []));
        writing.timer ??= setTimeout(() => this.#flush(writing), FLUSH);
      }
    } catch (error) {
      if (this.#writing === writing && !isAbort(error)) {
        this.problem = error;
        this.isKept = Boolean(node.inserted.length || writing.text);
      }
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
    const { current } = this.history;
    if (found.node) this.goTo(this.history.parent(found.node));
    return this.write(request, found.start, found.end, current);
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

  canDrawAgain(caret) {
    return !this.isWriting && this.againFrom(caret) !== null;
  }

  undo() {
    const { current } = this.history;
    this.stop();
    if (this.history.current !== current) return; // nothing was written yet, and is gone
    const above = this.history.parent(current);
    if (above) this.goTo(above);
  }

  redo() {
    const { next } = this.history.current;
    if (next !== null) this.goTo(this.history.nodes[next]);
  }

  /** Go to the text after a change. */
  goTo(change) {
    const before = this.history.current;
    this.stop(); // which drops a change that nothing was written for
    if (change === before || change === this.history.current) return;
    const pieces = this.history.go(this.pieces, change);
    const difference = differenceOf(this.text, textOf(pieces));
    this.pieces = pieces;
    this.text = textOf(pieces);
    this.changes += 1;
    this.tell(difference);
    this.tell();
  }

  /** Keep a text that was written beside this one as another way to go from `parent`. */
  keep(parent, at, text, made) {
    const inserted = [{ text, by: "model", tokens: null }];
    const kept = this.history.add("write", at, [], inserted, { made, parent, follow: false });
    this.changes += 1;
    this.tell();
    return kept;
  }

  /** Take the tokens that a model read in the text up to `end`. */
  learnTokens(tokens, end) {
    if (this.isWriting) return; // its piece must stay the one in the history
    this.pieces = withTokens(this.pieces, tokens, end);
    this.tell();
  }

  #flush(writing) {
    writing.timer = null;
    const { node, text, tokens } = writing;
    writing.text = "";
    writing.tokens = noTokens(tokens.model);
    const isFirst = !node.inserted.length;
    const grown = isFirst ? { text: "", by: "model", tokens: null } : node.inserted[0];
    const stop = node.at + grown.text.length;
    grown.text += text;
    if (tokens.starts.length) appendTokens((grown.tokens ??= noTokens(tokens.model)), tokens);
    if (grown.tokens) grown.tokens.ends[grown.tokens.ends.length - 1] = grown.text.length;
    if (!text) return;
    // The piece is shared by the text and its history, and grows in both.
    if (isFirst) {
      node.inserted = [grown];
      this.pieces = splice(this.pieces, node.at, 0, node.inserted);
    }
    this.text = this.text.slice(0, stop) + text + this.text.slice(stop);
    this.changes += 1;
    this.tell({ at: stop, removed: 0, inserted: text });
  }

  #finish(all) {
    const writing = this.#writing;
    clearTimeout(writing.timer);
    if (all && writing.timer !== null) this.#flush(writing);
    this.#writing = null;
    writing.stopper.abort();
    if (!writing.node.inserted.length) {
      // Nothing came: what was there before comes back.
      this.goTo(writing.back);
      this.history.drop(writing.node, writing.next);
    }
    this.tell();
  }

  #change(at, removed, inserted) {
    this.pieces = splice(this.pieces, at, removed, inserted);
    const text = textOf(inserted);
    this.text = this.text.slice(0, at) + text + this.text.slice(at + removed);
    this.changes += 1;
    this.tell({ at, removed, inserted: text });
  }
}

/** Append tokens; each ends where the next begins, and the end of the last one is set later. */
function appendTokens({ starts, ends, scores }, tokens) {
  for (let i = 0; i < tokens.starts.length; i += 1) {
    if (starts.length) ends[ends.length - 1] = tokens.starts[i];
    starts.push(tokens.starts[i]);
    ends.push(tokens.starts[i]);
    scores.push(tokens.scores[i]);
  }
}

/**
 * Return the change that makes one text of another.
 *
 * Among equal letters there are several; if `caret` is given, the change ends there.
 */
export function differenceOf(before, after, caret = null) {
  let [end, stop] = [before.length, after.length];
  const isKnown = caret !== null && before.endsWith(after.slice(caret));
  if (isKnown) [end, stop] = [end - (stop - caret), caret];
  let start = 0;
  const most = Math.min(end, stop);
  while (start < most && before.charCodeAt(start) === after.charCodeAt(start)) start += 1;
  if (!isKnown) {
    while (end > start && stop > start && before.charCodeAt(end - 1) === after.charCodeAt(stop - 1)) {
      end -= 1;
      stop -= 1;
    }
  }
  return { at: start, removed: end - start, inserted: after.slice(start, stop) };
}
