// The history of a text: a tree of changes. Nothing is ever taken out of it, so every text that
// was written can be gone back to, and another way be taken from there.

import { lengthOf, splice, slice, textOf } from "./pieces.js";

/**
 * @typedef {import("./pieces.js").Piece} Piece
 *
 * @typedef {object} Change
 * @property {number} id its place in the list of nodes
 * @property {number|null} parent null for the root, which is the empty text
 * @property {number[]} children
 * @property {number|null} next the child that was visited last
 * @property {"start"|"edit"|"choice"|"write"} kind
 * @property {number} at where the text was changed
 * @property {Piece[]} removed
 * @property {Piece[]} inserted
 * @property {number} time of the last change, in milliseconds
 * @property {object|null} made how a model wrote it: what a request needs to write it again
 */

const TYPING = 1500; // milliseconds; edits within these are undone together
const ONE = 2; // UTF-16 units of a character that a key removes, at most

export class History {
  #current;

  /** @param {{nodes: Change[], current: number}} [saved] */
  constructor(saved) {
    /** @type {Change[]} */
    this.nodes = saved?.nodes ?? [node(0, null, "start", 0, [], [])];
    this.#current = saved?.current ?? 0;
  }

  get current() {
    return this.nodes[this.#current];
  }

  /** Add a change after `parent`, and return it. The current place stays unless it is followed. */
  add(kind, at, removed, inserted, { made = null, parent = this.current, follow = true } = {}) {
    const added = node(this.nodes.length, parent.id, kind, at, removed, inserted, made);
    this.nodes.push(added);
    parent.children.push(added.id);
    if (follow) {
      parent.next = added.id;
      this.#current = added.id;
    }
    return added;
  }

  /** Note an edit: a part of the change before, if it goes on with what was just typed. */
  edit(pieces, start, end, inserted) {
    const last = this.current;
    const stop = last.at + lengthOf(last.inserted);
    const goesOn =
      last.kind === "edit" &&
      !last.children.length &&
      Date.now() - last.time < TYPING &&
      start <= stop &&
      end >= last.at &&
      end - start <= ONE && // not a selection that is removed
      !textOf(last.inserted).endsWith("\n");
    if (!goesOn) {
      this.add("edit", start, slice(pieces, start, end), inserted);
      return;
    }
    // What lies outside of the last change was removed, too; within it, only its text changes.
    const before = slice(pieces, start, Math.min(last.at, end));
    const after = slice(pieces, Math.max(stop, start), end);
    const from = Math.max(start - last.at, 0);
    const count = Math.max(Math.min(end, stop) - last.at - from, 0);
    last.inserted = splice(last.inserted, from, count, inserted);
    last.removed = [...(start < last.at ? before : []), ...last.removed, ...(end > stop ? after : [])];
    last.at = Math.min(last.at, start);
    last.time = Date.now();
  }

  /** Return the change before one, or null. */
  parent({ parent }) {
    return parent === null ? null : this.nodes[parent];
  }

  /** Tell whether a model wrote something up to a change. */
  wrote(change) {
    return [change, ...this.above(change)].some(({ kind }) => kind === "write");
  }

  /** Forget a change that changed nothing; `next` was visited before it. */
  drop({ id, parent }, next) {
    const above = this.nodes[parent];
    above.children = above.children.filter((child) => child !== id);
    if (above.next === id) above.next = next;
  }

  /** Return the changes from the root to the current one, and on to the one visited last. */
  path() {
    return [...this.above(this.current).reverse(), this.current, ...this.#below(this.current)];
  }

  /** Return the last change that was visited after this one, or itself. */
  leaf(change) {
    return this.#below(change).at(-1) ?? change;
  }

  /** Return the changes at the same place as this one, which are other ways to go, and itself. */
  siblings({ id, parent }) {
    return parent === null ? [this.nodes[id]] : this.nodes[parent].children.map((i) => this.nodes[i]);
  }

  /** Go to a change; return the pieces of the text there, given those of the current one. */
  go(pieces, target) {
    const found = this.piecesAt(pieces, target);
    this.#current = target.id;
    for (let one = target; one.parent !== null; one = this.nodes[one.parent]) {
      this.nodes[one.parent].next = one.id;
    }
    return found;
  }

  /** Return the pieces of the text after a change, given those of the current one. */
  piecesAt(pieces, target) {
    const wanted = new Set([target, ...this.above(target)].map(({ id }) => id));
    let one = this.current;
    for (; !wanted.has(one.id); one = this.nodes[one.parent]) {
      pieces = splice(pieces, one.at, lengthOf(one.inserted), one.removed);
    }
    const down = [];
    for (let below = target; below !== one; below = this.nodes[below.parent]) down.unshift(below);
    for (const { at, removed, inserted } of down) {
      pieces = splice(pieces, at, lengthOf(removed), inserted);
    }
    return pieces;
  }

  /** Return the changes above one, its parent first. */
  above(change) {
    const found = [];
    for (let id = change.parent; id !== null; id = this.nodes[id].parent) found.push(this.nodes[id]);
    return found;
  }

  #below(change) {
    const found = [];
    for (let id = change.next; id !== null; id = this.nodes[id].next) found.push(this.nodes[id]);
    return found;
  }
}

function node(id, parent, kind, at, removed, inserted, made = null) {
  const place = { id, parent, children: [], next: null };
  return { ...place, kind, at, removed, inserted, time: Date.now(), made };
}
