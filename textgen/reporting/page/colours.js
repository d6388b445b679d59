// What the colours of the tokens mean.
//
// A colouring paints a token: it names its class and its custom properties, from which style.css
// computes the colour. It also tells whether a character that is not seen must be marked.

const WORDS = data.level === "word";
const MOST_BITS = WORDS ? 16 : 8;
// The bands of the ranks as in GLTR (Gehrmann, Strobelt and Rush 2019). Few characters have a rank
// beyond 100.
const BANDS = WORDS ? [1, 10, 100, 1000] : [1, 10, 100];
const BAND_NAMES = [
  ...BANDS.map((top, i) => (i ? `${whole(BANDS[i - 1] + 1)}–${whole(top)}` : "first guess")),
  `beyond ${whole(BANDS.at(-1))}`,
];
const UNKNOWN = { name: "unknown", style: "", marked: false };

const COLOURS = {
  surprisal: "Surprisal",
  rank: "Rank",
  ...(knownUnits.size && { unit: "Unit" }),
  ...(data.novelty && { copied: "Copied" }),
  ...(data.authors && { author: "Author" }),
};

function bandOf(rank) {
  const band = BANDS.findIndex((top) => rank <= top);
  return band < 0 ? BANDS.length : band;
}

/** Return the colouring of a choice: { paint(t), legend }. */
async function colouringOf({ colour, unit }) {
  if (colour === "rank") return rankColouring();
  if (colour === "unit") return unitColouring(unit, await unitValues(unit));
  if (colour === "copied") return copiedColouring();
  if (colour === "author") return authorColouring();
  return surprisalColouring();
}

function surprisalColouring() {
  const style = (bits) => `--v:${Math.min(bits / MOST_BITS, 1) * 100}`;
  return {
    paint(t) {
      const bits = bitsOf(t);
      return bits === null ? UNKNOWN : { name: "", style: style(bits), marked: bits >= 2 };
    },
    legend: [
      "bits",
      ...[0, 1, 2, 3, 4].map((i) => {
        const bits = (i * MOST_BITS) / 4;
        return makeSwatch(`${bits}${i === 4 ? " or more" : ""}`, "", style(bits));
      }),
      makeSwatch("not predicted", "unknown"),
    ],
  };
}

function rankColouring() {
  return {
    paint(t) {
      if (!ranks[t]) return UNKNOWN;
      const band = bandOf(ranks[t]);
      return { name: `band-${band}`, style: "", marked: band > 0 };
    },
    legend: [
      "rank",
      ...BAND_NAMES.map((name, band) => makeSwatch(name, `band-${band}`)),
      makeSwatch("none", "unknown"),
    ],
  };
}

function unitColouring(key, values) {
  const look = (value) => ({
    name: value < 0 ? "below" : "above",
    style: `--v:${(Math.abs(value) / 127) * 100}`,
    marked: Math.abs(value) > 32,
  });
  return {
    paint: (t) => (t < values.length ? look(values[t]) : UNKNOWN),
    legend: [
      nameOfUnit(knownUnits.get(key)),
      ...[-127, -64, 0, 64, 127].map((value) => {
        const { name, style } = look(value);
        return makeSwatch((value / 127).toFixed(value % 127 ? 1 : 0).replace("-", "−"), name, style);
      }),
      values.length < tokenCount
        ? makeSwatch(`known for the first ${counted(values.length, "token")}`, "unknown")
        : null,
    ],
  };
}

function copiedColouring() {
  return {
    paint(t) {
      const number = copiedAt(t);
      if (number < 0) return { name: "", style: "", marked: false };
      const begins = t === 0 || copiedAt(t - 1) !== number;
      return { name: begins ? "copied begins" : "copied", style: "", marked: false };
    },
    legend: [
      makeSwatch(`${data.novelty.least} characters or more of the training text`, "copied"),
      "click one to see where it is from",
    ],
  };
}

function authorColouring() {
  const { names, passages } = data.authors;
  const judged = passages.reduce((sum, { length }) => sum + length, 0);
  return {
    paint(t) {
      const number = authoredAt(t);
      if (number < 0) return UNKNOWN;
      const { probabilities } = passages[number];
      const author = likeliest(probabilities);
      return { name: "author", style: authorStyle(author, probabilities[author]), marked: false };
    },
    legend: [
      "likeliest",
      ...names.map((name, author) => makeSwatch(name, "author", authorStyle(author, 1))),
      judged < data.text.length ? makeSwatch("not judged", "unknown") : null,
    ],
  };
}

/** Authors have hues far apart; a passage that may be of several is paler. */
const authorStyle = (author, probability) =>
  `--hue:${(author * 137.5 + 30) % 360};--v:${probability * 100}`;

function makeSwatch(name, className, style = "") {
  const swatch = make("span", { className: `token ${className}`, "aria-hidden": "true" }, "\u2003");
  swatch.style.cssText = style;
  return make("span", { className: "swatch" }, swatch, name);
}
