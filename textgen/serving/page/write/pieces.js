// A text in pieces, each of one author, with the tokens that a model wrote or read there.
//
// Positions and lengths are those of JavaScript's strings (UTF-16); the server counts code points.

/**
 * @typedef {object} Tokens three lists of equal length, in order, and the model that they are of
 * @property {string} model
 * @property {number[]} starts where each token begins, counted from the start of the piece
 * @property {number[]} ends
 * @property {(number|null)[]} scores log-probabilities; null for the first token of a text
 *
 * @typedef {object} Piece
 * @property {string} text
 * @property {"prompt"|"edit"|"model"} by
 * @property {Tokens|null} tokens null if they are not known
 */

export const noTokens = (model) => ({ model, starts: [], ends: [], scores: [] });

export function textOf(pieces) {
  return pieces.map(({ text }) => text).join("");
}

export function lengthOf(pieces) {
  return pieces.reduce((sum, { text }) => sum + text.length, 0);
}

/** Return the pieces of a part of a text. */
export function slice(pieces, start, end = Infinity) {
  const found = [];
  visit(pieces, start, end, (one, at) => {
    const from = Math.max(start - at, 0);
    const to = Math.min(end - at, one.text.length);
    if (from < to) found.push(part(one, from, to));
  });
  return found;
}

/** Return the pieces with `count` characters from `at` on replaced by others. */
export function splice(pieces, at, count, inserted) {
  return joined([...slice(pieces, 0, at), ...inserted, ...slice(pieces, at + count)]);
}

/** Call `visitor(piece, its start)` for each piece with something between two positions. */
export function visit(pieces, start, end, visitor) {
  let at = 0;
  for (const one of pieces) {
    if (at >= end) return;
    if (at + one.text.length > start) visitor(one, at);
    at += one.text.length;
  }
}

/** Return where the text that the model wrote without a break around `position` ends. */
export function endOfModelText(pieces, position) {
  let end = position;
  let at = 0;
  for (const { text, by } of pieces) {
    at += text.length;
    if (at <= position) continue;
    if (by !== "model") break;
    end = at;
  }
  return end;
}

/** Return `{start, end, score}` of the token of a model at a position, or null if it is not known. */
export function tokenAt(pieces, position, model) {
  let found = null;
  visit(pieces, position, position + 1, ({ tokens }, at) => {
    if (tokens?.model !== model) return;
    const index = lastUpTo(tokens.starts, position - at);
    if (index < 0 || tokens.ends[index] <= position - at) return;
    const [start, end] = [at + tokens.starts[index], at + tokens.ends[index]];
    found = { start, end, score: tokens.scores[index] };
  });
  return found;
}

/**
 * Return the pieces with these tokens of the text up to `end`, instead of those known before.
 *
 * A token that lies in several pieces is known in each.
 */
export function withTokens(pieces, tokens, end) {
  const found = [];
  let at = 0;
  let next = 0;
  for (const one of pieces) {
    const stop = at + one.text.length;
    if (at >= end) {
      found.push(one);
      continue;
    }
    const own = noTokens(tokens.model);
    while (next < tokens.starts.length && tokens.starts[next] < stop) {
      own.starts.push(tokens.starts[next] - at);
      own.ends.push(tokens.ends[next] - at);
      own.scores.push(tokens.scores[next]);
      next += 1;
    }
    if (next > 0 && tokens.ends[next - 1] > stop) next -= 1; // it lies in the next one, too
    found.push({ ...one, tokens: own });
    at = stop;
  }
  return found;
}

function part(one, from, to) {
  if (from === 0 && to === one.text.length) return one;
  return { text: one.text.slice(from, to), by: one.by, tokens: tokensWithin(one.tokens, from, to) };
}

/** A token that is cut is no token any more. */
function tokensWithin(tokens, from, to) {
  if (!tokens) return null;
  const first = lastUpTo(tokens.starts, from - 1) + 1;
  let stop = lastUpTo(tokens.starts, to - 1) + 1;
  while (stop > first && tokens.ends[stop - 1] > to) stop -= 1;
  const shifted = (position) => position - from;
  return {
    model: tokens.model,
    starts: tokens.starts.slice(first, stop).map(shifted),
    ends: tokens.ends.slice(first, stop).map(shifted),
    scores: tokens.scores.slice(first, stop),
  };
}

/** Join what one author typed in a row; each text that a model wrote stays a piece. */
function joined(pieces) {
  const found = [];
  for (const one of pieces) {
    const last = found.at(-1);
    if (last && last.by === one.by && one.by !== "model" && !last.tokens && !one.tokens) {
      found[found.length - 1] = { text: last.text + one.text, by: one.by, tokens: null };
    } else {
      found.push(one);
    }
  }
  return found;
}

/** Return the index of the last number in a sorted list that is at most `most`, or -1. */
function lastUpTo(sorted, most) {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] <= most) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
