// How tokens are shown that are blank or not to be seen.

const NAMES = {
  "": "no character",
  " ": "space",
  "\n": "line break",
  "\t": "tab",
  "\r": "carriage return",
  "\u00a0": "no-break space",
  "\u00ad": "soft hyphen",
};
const MARKS = { "\n": "↵", "\t": "→", "\u007f": "␡", "\u00a0": "⍽", "\u00ad": "‐" };
const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/u;

/** The mark of a character that cannot be seen; "" for one that can. */
function markOf(character) {
  if (character in MARKS) return MARKS[character];
  if (character < " ") return String.fromCharCode(0x2400 + character.charCodeAt(0));
  return UNSEEN.test(character) ? "◌" : "";
}

/** The marks of a token of which nothing can be seen; "" for another. */
function marksOf(text) {
  const marks = Array.from(text, markOf);
  return marks.every(Boolean) ? marks.join("") : "";
}

const codeOf = (character) =>
  `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;

/** A token with marks for what cannot be seen, spaces included. */
function seen(text) {
  const marked = Array.from(text, (c) => (c === " " ? "␣" : markOf(c) || c)).join("");
  return /^\p{M}/u.test(marked) ? `◌${marked}` : marked;
}

/** A token in words, for a card or a screen reader. */
function named(text) {
  if (Object.hasOwn(NAMES, text)) return NAMES[text];
  const isSeen = Array.from(text).some((c) => !markOf(c) && !/\s/u.test(c));
  return isSeen ? seen(text) : Array.from(text, (c) => NAMES[c] ?? codeOf(c)).join(", ");
}
