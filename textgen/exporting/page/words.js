// Split a text into words, punctuation marks and white space, as textgen/preprocess/words.py does.

// Blocks of scripts that are written without spaces between words, so that each character is a
// token: Thai and Lao, Burmese, Khmer, Chinese and Japanese.
const ALONE =
  "\\u0e01-\\u0eff\\u1000-\\u109f\\ua9e0-\\ua9ff\\uaa60-\\uaa7f\\u1780-\\u17ff" +
  "\\u2e80-\\u2fdf\\u3001-\\u30ff\\u31f0-\\u31ff\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff" +
  "\\uff66-\\uff9f\\u{1b000}-\\u{1b16f}\\u{20000}-\\u{3ffff}";
const CIRCLED = "\\u24b6-\\u24e9\\u{1f130}-\\u{1f149}\\u{1f150}-\\u{1f169}\\u{1f170}-\\u{1f189}";
const MARKS = "\\p{M}\\u200c\\u200d";
const SPACE =
  "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"; // Python's
const WORD = `(?:(?![${ALONE}])[\\p{L}\\p{N}]|[${MARKS}\\p{No}\\p{Pc}${CIRCLED}])+`;

const TOKEN = new RegExp(
  ` ?${WORD}(?:['’]${WORD})*| ?[^${SPACE}][${MARKS}]*|\\n+| +(?= )|[${SPACE}]`,
  "gu",
);
const SPACE_ALONE = new RegExp(`^[${SPACE}]*$`, "u");
const ENDS_WITH_A_SPACE = new RegExp(`[^${SPACE}] $`, "u"); // after something else

/** Return the tokens of a text, which concatenate to it. */
const splitWords = (text) => text.match(TOKEN) ?? [];
