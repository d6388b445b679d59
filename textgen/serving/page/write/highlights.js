// Colours of the text, by the browser's custom highlights: nothing is added to the text itself.
//
// Only what is near the visible part is coloured, because a text may have 100,000 tokens.

import { visit } from "./pieces.js";

const BITS = [2, 4, 6, 9]; // of surprise, from which on each colour begins

/** The names of all highlights, as in write.css; later ones lie above. */
const NAMES = ["model", "edit", "surprise-1", "surprise-2", "surprise-3", "surprise-4", "copied"];

export class Highlights {
  #frame = null;

  /**
   * @param {import("./editor.js").Editor} editor
   * @param {() => {pieces: object[], surprise: boolean, copied: {start: number, end: number}[]}} look
   *   what to show
   */
  constructor(editor, look) {
    this.editor = editor;
    this.look = look;
    this.isAble = Boolean(globalThis.CSS?.highlights);
    if (!this.isAble) return;
    this.highlights = {};
    for (const [priority, name] of [...NAMES, "pointed"].entries()) {
      this.highlights[name] = new Highlight();
      this.highlights[name].priority = priority;
      CSS.highlights.set(name, this.highlights[name]);
    }
  }

  close() {
    cancelAnimationFrame(this.#frame);
    if (this.isAble) for (const name of Object.keys(this.highlights)) CSS.highlights.delete(name);
  }

  /** Show what is new, once before the next frame. */
  refresh() {
    if (this.isAble) {
      this.#frame ??= requestAnimationFrame(() => {
        this.#frame = null;
        this.#paint();
      });
    }
  }

  /** Mark one part of the text, or none. */
  point(part) {
    if (!this.isAble) return;
    this.highlights.pointed.clear();
    if (part) this.highlights.pointed.add(this.editor.staticRange(part.start, part.end));
  }

  #paint() {
    const { pieces, surprise, copied } = this.look();
    const visible = this.editor.visiblePart();
    const found = Object.fromEntries(NAMES.map((name) => [name, []]));
    visit(pieces, visible.start, visible.end, (piece, at) => {
      if (surprise && piece.tokens) addSurprise(found, piece.tokens, at, visible);
      if (piece.by !== "prompt") {
        add(found[piece.by], at, at + piece.text.length, visible);
      }
    });
    for (const { start, end } of copied) add(found.copied, start, end, visible);
    for (const name of NAMES) {
      this.highlights[name].clear();
      for (const [start, end] of found[name]) {
        this.highlights[name].add(this.editor.staticRange(start, end));
      }
    }
  }
}

/** Return how many bits of surprise the log-probability of a token stands for. */
function bitsOf(score) {
  return -score / Math.LN2;
}

function addSurprise(found, { starts, ends, scores }, at, visible) {
  for (let i = 0; i < starts.length; i += 1) {
    if (at + starts[i] > visible.end) return;
    if (at + ends[i] < visible.start || scores[i] === null) continue;
    const level = BITS.filter((bits) => bitsOf(scores[i]) >= bits).length;
    if (level) add(found[`surprise-${level}`], at + starts[i], at + ends[i], visible);
  }
}

/** Add what of a range can be seen to a list, joined with the last if they touch. */
function add(list, start, end, visible) {
  const [from, to] = [Math.max(start, visible.start), Math.min(end, visible.end)];
  if (from >= to) return;
  const last = list.at(-1);
  if (last?.[1] >= from) last[1] = Math.max(last[1], to);
  else list.push([from, to]);
}
