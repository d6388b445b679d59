// The card: what is known of one token.

/** Fill the card with a token; `values` are those of the unit shown, if one is. */
function fillCard(card, t, unit, values) {
  const copied = copiedAt(t);
  const authored = authoredAt(t);
  const parts = [
    make(
      "h2",
      {},
      make("span", { className: "sample" }, named(tokenText(t))),
      make("small", {}, `token ${whole(t + 1)} of ${whole(tokenCount)}`),
    ),
    make("p", {}, inWords(t)),
    unit ? make("p", {}, `${nameOfUnit(unit)}: ${valueInWords(values, t)}`) : null,
    makeGuesses(t),
    copied < 0 ? null : makeSource(data.novelty.passages[copied]),
    authored < 0 ? null : makeAuthors(data.authors.passages[authored].probabilities),
  ];
  card.replaceChildren(...parts.filter((part) => part !== null));
}

/** The figures of a token in words. */
function inWords(t) {
  const bits = bitsOf(t);
  if (bits === null) return "not predicted";
  const told = `${bits.toFixed(2)} bits`;
  if (!ranks[t]) return `${told}; not in the vocabulary`;
  return `${told}, ${ranks[t] === 1 ? "the first guess" : `guess number ${whole(ranks[t])}`}`;
}

const valueInWords = (values, t) =>
  t < values.length ? signed(values[t] / 127) : "not known so far into the text";

function makeGuesses(t) {
  const own = tokenText(t);
  return make(
    "ol",
    { className: "bars", "aria-label": "Guesses" },
    ...guessesFor(t).map(({ text, probability }) =>
      make(
        "li",
        { className: text === own ? "right" : "" },
        make("span", { className: "sample" }, named(text)),
        makeBar(probability),
        make("span", { className: "number" }, percent(probability)),
      ),
    ),
  );
}

/** A copied passage between what is around it in its source. */
function makeSource(passage) {
  return make(
    "blockquote",
    { className: "source" },
    make("span", { dir: "auto" }, "…", passage.before),
    make("mark", { dir: "auto" }, textOf(passage)),
    make("span", { dir: "auto" }, passage.after, "…"),
    make(
      "footer",
      {},
      `${passage.source}, from character ${whole(passage.source_position + 1)}; ` +
        `${counted(passage.length, "character")} copied`,
    ),
  );
}

function makeAuthors(probabilities) {
  return make(
    "ul",
    { className: "bars", "aria-label": "Authors" },
    ...data.authors.names.map((name, author) =>
      make(
        "li",
        {},
        make("span", {}, name),
        makeBar(probabilities[author]),
        make("span", { className: "number" }, percent(probabilities[author])),
      ),
    ),
  );
}
