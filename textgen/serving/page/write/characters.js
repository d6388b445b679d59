// Positions in a text: the server counts code points, JavaScript counts UTF-16 units.

const PAIRS = /[\ud800-\udbff][\udc00-\udfff]/g;

/** Return a function that turns growing positions in code points into positions in `text`. */
export function unitsOf(text) {
  if (!PAIRS.test(text)) return (points) => points;
  PAIRS.lastIndex = 0;
  let points = 0;
  let units = 0;
  return (wanted) => {
    for (; points < wanted && units < text.length; points += 1) {
      units += text.codePointAt(units) > 0xffff ? 2 : 1;
    }
    return units;
  };
}

/** Return the number of code points in a text. */
export function pointsIn(text) {
  return text.length - (text.match(PAIRS)?.length ?? 0);
}

/** Return the beginning of a text in one line, for a list. */
export function excerpt(text, most = 60) {
  const line = text.slice(0, 2 * most).replace(/\s+/g, " ").trim();
  return line.length > most ? `${line.slice(0, most)}…` : line;
}
