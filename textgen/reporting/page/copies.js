// What is copied from the training text, by the text and by what the network writes.

/** `show(passage)` shows a passage in the text. */
function copiesPanel(show) {
  const title = "Copied";
  if (!data.novelty) {
    return data.novelty_missing ? makePanel(title, note(data.novelty_missing)) : null;
  }
  const { least, copied, passages } = data.novelty;
  return makePanel(
    title,
    note(
      `${percent(copied)} of the text stands in the training text, in passages of ${least} ` +
        "characters or more.",
    ),
    passages.length
      ? make("ol", { className: "passages" }, ...passages.map((passage) => makePassage(passage, show)))
      : null,
    ...makeTemperatures(),
  );
}

function makePassage(passage, show) {
  return make(
    "li",
    {},
    make(
      "details",
      {},
      make(
        "summary",
        {},
        make("span", { className: "sample", dir: "auto" }, textOf(passage)),
        make("small", {}, ` ${passage.source}`),
      ),
      makeSource(passage),
      make("button", { type: "button", onclick: () => show(passage) }, "Show in the text"),
    ),
  );
}

/** How much is copied of what the network writes at some temperatures. */
function makeTemperatures() {
  const { temperatures, sampled } = data.novelty;
  if (!temperatures.length) return [];
  const at = temperatures.map(({ temperature }) => temperature);
  const [low, high] = [Math.min(...at), Math.max(...at)];
  const chart = makeChart(
    "Copied share against temperature",
    makeAxis({
      from: low === high ? low - 0.5 : low,
      to: low === high ? high + 0.5 : high,
      ticks: at,
      label: "temperature",
    }),
    shareAxis(Math.max(...temperatures.map(({ copied }) => copied)), "copied"),
  );
  drawLine(chart, temperatures.map(({ temperature, copied }) => [temperature, copied]), "measured");
  return [
    make("h3", {}, "What the network writes"),
    note(`How much is copied of ${counted(sampled, "character")} written at each temperature.`),
    chart.svg,
    makeAlternative(
      "Copied share against temperature",
      ["Temperature", "Copied"],
      temperatures.map(({ temperature, copied }) => [temperature, percent(copied)]),
    ),
  ];
}
