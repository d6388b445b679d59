// The field of the text: one editable element with the text in many text nodes.
//
// A textarea cannot colour its text. One element with one large text node takes too long to lay out
// after each change; text nodes of some thousand characters are laid out in milliseconds even if
// the text is a single paragraph of 200,000 characters.
//
// Every change is made here, with its position known, except what an input method composes: that
// is done by the browser, and found by comparing.

import { differenceOf } from "./session.js";

const CHUNK = 2000; // characters in a text node, at most twice as many

export class Editor {
  #isDone = false; // what is told as a change is in the element already

  /**
   * @param {HTMLElement} element
   * @param {HTMLElement} pane what scrolls
   * @param {{edit: (start: number, end: number, text: string) => void, takeOver: () => void,
   *   undo: () => void, redo: () => void, move: () => void}} on what a person does: `takeOver`
   *   comes before a change, `move` after one of the caret
   */
  constructor(element, pane, on) {
    this.element = element;
    this.pane = pane;
    this.on = on;
    this.text = "";
    this.caret = { start: 0, end: 0 }; // also while another element has the focus
    this.stopper = new AbortController();
    this.isComposing = false;
    // Shows the line after a last line break. It never is a part of the text.
    this.tail = document.createElement("br");
    element.replaceChildren(this.tail);
    const listen = (target, name, listener) =>
      target.addEventListener(name, listener, { signal: this.stopper.signal });
    listen(element, "beforeinput", (event) => this.#beforeInput(event));
    listen(element, "input", () => this.#afterInput());
    listen(element, "compositionstart", () => {
      this.on.takeOver();
      this.isComposing = true;
    });
    listen(element, "compositionend", () => {
      this.isComposing = false;
      this.#afterInput();
    });
    listen(element, "focus", () => this.#showCaret());
    listen(document, "selectionchange", () => this.#selected());
    // The browser tells of the caret later than of the key that comes after it.
    listen(element, "keydown", () => this.#selected(true));
  }

  close() {
    this.stopper.abort();
  }

  /** Replace a part of the text. The caret stays where it was in the text around. */
  replace(at, removed, inserted) {
    const { start, end } = this.caret;
    if (removed && !this.#isDone) this.#remove(at, at + removed);
    if (inserted && !this.#isDone) this.#insert(at, inserted);
    this.text = this.text.slice(0, at) + inserted + this.text.slice(at + removed);
    const moved = (position) =>
      position <= at ? position : Math.max(at, position - removed) + inserted.length;
    this.caret = { start: moved(start), end: moved(end) };
    this.element.classList.toggle("empty", !this.text);
  }

  select(start, end = start) {
    this.caret = { start, end };
    if (document.activeElement === this.element) this.#showCaret();
  }

  focus() {
    this.element.focus({ preventScroll: true });
  }

  /** Scroll as little as possible so that a position can be seen. */
  reveal(position) {
    const [rect, pane] = [this.rectAt(position), this.pane.getBoundingClientRect()];
    const margin = rect.height;
    if (rect.bottom + margin > pane.bottom) {
      this.pane.scrollTop += rect.bottom + margin - pane.bottom;
    } else if (rect.top - margin < pane.top) this.pane.scrollTop += rect.top - margin - pane.top;
  }

  isVisible(position) {
    const [rect, pane] = [this.rectAt(position), this.pane.getBoundingClientRect()];
    return rect.bottom > pane.top && rect.top < pane.bottom;
  }

  /** Return the rectangle of a place in the text, in the window. */
  rectAt(start, end = start) {
    const rects = this.range(start, end).getClientRects();
    if (rects.length && (end > start || rects[0].height)) return rects[rects.length - 1];
    // A collapsed range has no rectangle in an empty line.
    if (this.text[start - 1] === "\n" || !this.text) {
      const next = this.text[start] === "\n" ? this.range(start, start + 1) : null;
      const found = next?.getClientRects() ?? [];
      return found.length ? found[found.length - 1] : this.tail.getBoundingClientRect();
    }
    const before = this.range(Math.max(start - 1, 0), start).getClientRects();
    const last = before[before.length - 1] ?? this.element.getBoundingClientRect();
    return new DOMRect(last.right, last.top, 0, last.height);
  }

  /** Return the part of the text that is near what can be seen, as `{start, end}`. */
  visiblePart() {
    const pane = this.pane.getBoundingClientRect();
    const nodes = this.#nodes();
    const range = document.createRange();
    const rect = (index) => {
      range.selectNodeContents(nodes[index]);
      return range.getBoundingClientRect();
    };
    // The first node whose bottom is below the top of the pane, and the first one below it.
    const first = firstIndex(nodes.length, (index) => rect(index).bottom >= pane.top);
    const stop = firstIndex(nodes.length, (index) => rect(index).top > pane.bottom);
    const lengths = nodes.map((node) => node.length);
    const sum = (count) => lengths.slice(0, count).reduce((a, b) => a + b, 0);
    return { start: sum(first), end: sum(stop) };
  }

  /** Return the position of the character at a point of the window, or null. */
  positionAt(x, y) {
    const found = document.caretPositionFromPoint
      ? document.caretPositionFromPoint(x, y)
      : document.caretRangeFromPoint?.(x, y);
    const node = found?.offsetNode ?? found?.startContainer;
    if (!node || !this.element.contains(node)) return null;
    let position = this.#positionOf(node, found.offset ?? found.startOffset);
    // The caret may stand behind the character.
    const isAt = (index) => {
      const rects = [...this.range(index, index + 1).getClientRects()];
      return rects.some((r) => x >= r.left && x <= r.right && y >= r.top - 4 && y <= r.bottom + 4);
    };
    if (position > 0 && isAt(position - 1)) position -= 1;
    return position < this.text.length && isAt(position) ? position : null;
  }

  /** Return a static range of the text, for highlights. */
  staticRange(start, end) {
    const [from, to] = [this.#place(start, false), this.#place(end, true)];
    return new StaticRange({
      startContainer: from.node,
      startOffset: from.offset,
      endContainer: to.node,
      endOffset: to.offset,
    });
  }

  range(start, end = start) {
    const range = document.createRange();
    const [from, to] = [this.#place(start, start === end), this.#place(end, true)];
    range.setStart(from.node, from.offset);
    range.setEnd(to.node, to.offset);
    return range;
  }

  #nodes() {
    return [...this.element.childNodes].filter((node) => node.nodeType === Node.TEXT_NODE);
  }

  /** Return the node and offset of a position; `before` prefers the end of a node to a start. */
  #place(position, before) {
    let node = this.element.firstChild;
    for (; node && node !== this.tail; node = node.nextSibling) {
      if (position < node.length || (before && position === node.length)) break;
      position -= node.length;
    }
    if (node && node !== this.tail) return { node, offset: position };
    const last = this.tail.previousSibling;
    return last ? { node: last, offset: last.length } : { node: this.element, offset: 0 };
  }

  #positionOf(node, offset) {
    const children = [...this.element.childNodes];
    const count = node === this.element ? offset : children.indexOf(node);
    const before = children.slice(0, count).reduce((sum, child) => sum + (child.length ?? 0), 0);
    return before + (node.nodeType === Node.TEXT_NODE ? offset : 0);
  }

  #insert(at, text) {
    const { node, offset } = this.#place(at, true);
    const isText = node.nodeType === Node.TEXT_NODE;
    if (isText && node.length + text.length <= 2 * CHUNK) {
      node.insertData(offset, text);
      return;
    }
    let next = isText ? node : this.tail;
    if (isText && offset === node.length) next = node.nextSibling;
    else if (isText && offset) next = node.splitText(offset);
    next.before(...nodesOf(text));
  }

  #remove(start, end) {
    let at = 0;
    for (const node of this.#nodes()) {
      const [from, to] = [Math.max(start - at, 0), Math.min(end - at, node.length)];
      at += node.length;
      if (from === 0 && to === node.length) node.remove();
      else if (from < to) node.deleteData(from, to - from);
    }
  }

  #beforeInput(event) {
    const { inputType: kind } = event;
    if (kind === "historyUndo" || kind === "historyRedo") {
      event.preventDefault();
      (kind === "historyUndo" ? this.on.undo : this.on.redo)();
      return;
    }
    if (!event.cancelable || this.isComposing) return;
    const [range] = event.getTargetRanges();
    if (!range) return;
    event.preventDefault();
    let start = this.#positionOf(range.startContainer, range.startOffset);
    let end = this.#positionOf(range.endContainer, range.endOffset);
    const before = this.text;
    this.on.takeOver();
    if (this.text !== before) ({ start, end } = this.caret);
    const isBreak = kind === "insertLineBreak" || kind === "insertParagraph";
    const given = event.data ?? event.dataTransfer?.getData("text/plain") ?? "";
    const text = isBreak ? "\n" : kind.startsWith("delete") ? "" : given.replace(/\r\n?/g, "\n");
    if (start === end && !text) return;
    this.on.edit(start, end, text);
  }

  /** Find out what the browser changed by itself. */
  #afterInput() {
    if (this.isComposing) return;
    const children = [...this.element.childNodes];
    const isTidy = children.every((node) => node === this.tail || node.nodeType === Node.TEXT_NODE);
    // A line break that the browser made is an element.
    const text = children
      .map((node) => (node === this.tail ? "" : node.nodeName === "BR" ? "\n" : node.textContent))
      .join("");
    const { anchorNode, anchorOffset } = getSelection();
    const caret = this.element.contains(anchorNode) ? this.#positionOf(anchorNode, anchorOffset) : null;
    const { at, removed, inserted } = differenceOf(this.text, text, caret);
    if (removed || inserted) {
      this.#isDone = true;
      this.on.edit(at, at + removed, inserted);
      this.#isDone = false;
    }
    if (!isTidy || children.at(-1) !== this.tail || children.some(({ length }) => length === 0)) {
      this.element.replaceChildren(...nodesOf(text), this.tail);
      this.select(at + inserted.length);
    }
    this.#selected();
  }

  #selected(onlyIfMoved = false) {
    const selection = getSelection();
    if (this.isComposing || document.activeElement !== this.element) return;
    if (!selection.rangeCount || !this.element.contains(selection.anchorNode)) return;
    const range = selection.getRangeAt(0);
    const start = this.#positionOf(range.startContainer, range.startOffset);
    const end = this.#positionOf(range.endContainer, range.endOffset);
    if (onlyIfMoved && start === this.caret.start && end === this.caret.end) return;
    this.caret = { start, end };
    this.on.move();
  }

  #showCaret() {
    const { start, end } = this.caret;
    const [from, to] = [this.#place(start, true), this.#place(end, true)];
    getSelection().setBaseAndExtent(from.node, from.offset, to.node, to.offset);
  }
}

/** Return text nodes for a text, which are cut at spaces if there are any. */
function nodesOf(text) {
  const nodes = [];
  for (let from = 0; from < text.length; ) {
    let to = Math.min(from + CHUNK, text.length);
    if (to < text.length) {
      const space = Math.max(text.lastIndexOf(" ", to), text.lastIndexOf("\n", to)) + 1;
      if (space > from + CHUNK / 2) to = space;
      else if (/[\ud800-\udbff]/.test(text[to - 1])) to += 1;
    }
    nodes.push(document.createTextNode(text.slice(from, to)));
    from = to;
  }
  return nodes;
}

/** Return the first of `count` indices for which a test holds, which holds for all after it. */
function firstIndex(count, test) {
  let low = 0;
  let high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (test(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
}
