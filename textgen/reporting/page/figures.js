// The panels of figures: surprisal, rank, features, memory, authors.

function makePanel(title, ...children) {
  return make("section", { className: "panel" }, make("h2", {}, title), ...children);
}

const note = (text) => make("p", { className: "note" }, text);

function surprisalPanel() {
  const width = MOST_BITS / 16;
  const counts = new Array(17).fill(0); // the last is for what is beyond
  let predicted = 0;
  for (let t = 0; t < tokenCount; t++) {
    const bits = bitsOf(t);
    if (bits === null) continue;
    counts[Math.min(Math.floor(bits / width), 16)]++;
    predicted++;
  }
  const shares = counts.map((count) => count / Math.max(predicted, 1));
  const chart = makeChart(
    "Histogram of surprisal",
    makeAxis({
      from: 0,
      to: MOST_BITS + width,
      ticks: [0, 1, 2, 3, 4].map((i) => (i * MOST_BITS) / 4),
      label: "bits",
    }),
    shareAxis(Math.max(...shares), "share of the tokens"),
  );
  const names = shares.map((_, i) =>
    i < 16 ? `${i * width} to ${(i + 1) * width} bits` : `${MOST_BITS} bits or more`,
  );
  shares.forEach((share, i) =>
    drawColumn(chart, i * width, (i + 1) * width, share, `${names[i]}: ${percent(share)}`),
  );
  return makePanel(
    "Surprisal",
    note("How many bits the network needs for a token. 1 bit: it gave the token one chance in 2."),
    chart.svg,
    makeAlternative(
      "Tokens by surprisal",
      ["Surprisal", "Tokens", "Share"],
      names.map((name, i) => [name, whole(counts[i]), percent(shares[i])]),
    ),
  );
}

function rankPanel() {
  const counts = BAND_NAMES.map(() => 0);
  for (const rank of ranks) if (rank) counts[bandOf(rank)]++;
  const total = Math.max(
    counts.reduce((a, b) => a + b),
    1,
  );
  return makePanel(
    "Rank",
    note("How many tokens the network thought at least as likely as the one that came."),
    make(
      "ul",
      { className: "bars ranks" },
      ...counts.map((count, band) => {
        const bar = makeBar(count / total);
        bar.classList.add(`band-${band}`);
        return make(
          "li",
          {},
          make("span", {}, BAND_NAMES[band]),
          bar,
          make("span", { className: "number" }, percent(count / total)),
        );
      }),
    ),
  );
}

/** The features of the text and the units that follow them; `choose(key)` shows a unit. */
function featuresPanel(choose) {
  const title = "What units watch";
  if (!data.features.length) {
    return makePanel(title, note("No feature occurs often enough in both halves of the text."));
  }
  const row = ({ name, share, best }) =>
    best.map((match, i) =>
      make(
        "tr",
        {},
        i
          ? null
          : make(
              "th",
              { scope: "row", rowSpan: best.length },
              name,
              share === null ? null : make("small", {}, ` ${percent(share)} of the tokens`),
            ),
        make(
          "td",
          {},
          make(
            "button",
            { type: "button", className: "unit", onclick: () => choose(keyOf(match)) },
            nameOfUnit(match),
          ),
        ),
        make(
          "td",
          { title: `ranked by ${signed(match.ranked_by)} on the other half` },
          makeBar(match.correlation),
          make("span", { className: "number" }, signed(match.correlation)),
        ),
      ),
    );
  return makePanel(
    title,
    note(
      "The units that follow a feature of the text best, and how closely: 1 is exactly, −1 exactly " +
        "the opposite, 0 not at all. The units were picked on one half of the text; the " +
        "correlation is that on the other.",
    ),
    make(
      "table",
      { className: "features" },
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ...["Feature", "Unit", "Correlation"].map((cell) => make("th", { scope: "col" }, cell)),
        ),
      ),
      make("tbody", {}, ...data.features.flatMap(row)),
    ),
  );
}

function memoryPanel() {
  if (!data.memory) return null;
  const { lengths, bits, carried, samples } = data.memory;
  const all = [...bits, ...carried];
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const room = (most - least) * 0.08 || 0.1;
  const to = lengths.at(-1);
  const yAxis = makeAxis({ from: least - room, to: most + room, label: "bits per token" });
  const digits = Math.max(...yAxis.ticks.map((tick) => String(tick).split(".")[1]?.length ?? 0));
  const chart = makeChart(
    "Bits per token against the tokens remembered",
    makeAxis({
      from: lengths[0],
      to: Math.max(to, lengths[0] * 10),
      log: true,
      ticks: [1, 10, 100, 1000, 10000].filter((n) => n >= lengths[0] && n <= Math.max(to, 10)),
      format: whole,
      label: "tokens since the state was zero",
    }),
    { ...yAxis, format: (tick) => tick.toFixed(digits) },
  );
  drawLine(chart, lengths.map((length, i) => [length, carried[i]]), "reference");
  drawLine(chart, lengths.map((length, i) => [length, bits[i]]), "measured");
  return makePanel(
    "What memory is worth",
    note("The bits of a token when the network has read only so many tokens before it."),
    chart.svg,
    make(
      "p",
      { className: "key" },
      make("span", { className: "measured" }, "state set to zero"),
      make("span", { className: "reference" }, "state carried from the beginning"),
    ),
    makeAlternative(
      "Bits per token",
      ["Tokens remembered", "State zeroed", "Carried", "Measured at"],
      lengths.map((length, i) => [
        whole(length),
        bits[i].toFixed(3),
        carried[i].toFixed(3),
        counted(samples[i], "place"),
      ]),
    ),
  );
}

function authorsPanel() {
  if (!data.authors) return null;
  const { names, probabilities, shares, bits_per_character, own_bits_per_character } = data.authors;
  return makePanel(
    "Authors",
    note(
      "Who wrote the text, if it was one of these. If all networks need many more bits than for " +
        "their own books, it was probably none of them.",
    ),
    makeAuthors(probabilities),
    makeAlternative(
      "Authors of the text",
      ["Author", "Probability", "Share of text", "Bits per character", "In own book"],
      names.map((name, author) => [
        name,
        percent(probabilities[author]),
        percent(shares[author]),
        bits_per_character[author].toFixed(3),
        own_bits_per_character[author].toFixed(3),
      ]),
    ),
  );
}

/** An axis of shares from 0 up. */
function shareAxis(most, label) {
  return makeAxis({ from: 0, to: most * 1.05 || 1, format: percent, label });
}
