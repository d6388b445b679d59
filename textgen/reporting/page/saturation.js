// How often the gates of the units are nearly closed or open.

const GATES = { i: "input", f: "forget", o: "output", z: "update", r: "reset" };
const SQUARE = { width: 230, height: 226 };

/** Pictures as in Karpathy, Johnson and Li (2015), figure 2; `choose(key)` shows a unit. */
async function saturationPanel(choose) {
  if (!data.saturation.length) return null;
  const parts = [];
  for (const { layer, gates } of data.saturation) {
    for (const [gate, { low, high }] of Object.entries(gates)) {
      parts.push(makeScatter(layer, gate, await unpack(low), await unpack(high), choose));
    }
  }
  return makePanel(
    "Gates",
    note(
      "Each point is a unit: how much of the text its gate is nearly closed (below 0.1), and how " +
        "much it is nearly open (above 0.9). A forget gate that is nearly always open remembers " +
        "for long. Click a point to see the unit in the text.",
    ),
    make("div", { className: "scatters" }, ...parts),
  );
}

function makeScatter(layer, gate, low, high, choose) {
  const name = `Layer ${layer}, ${GATES[gate] ?? gate} gate`;
  const share = (label) =>
    makeAxis({ from: 0, to: 1, ticks: [0, 0.5, 1], format: percent, label });
  const { svg, x, y } = makeChart(name, share("nearly closed"), share("nearly open"), SQUARE);
  low.forEach((closed, unit) => {
    const title = makeSvg("title", {}, `unit ${unit}: ${percent(closed)}, ${percent(high[unit])}`);
    const known = unitOfLayer(layer, unit);
    const point = { cx: x(closed), cy: y(high[unit]), r: 3, class: known ? "point known" : "point" };
    svg.append(
      makeSvg(
        "circle",
        known ? { ...point, onclick: () => choose(keyOf(known)) } : point,
        title,
      ),
    );
  });
  return make(
    "figure",
    {},
    make("figcaption", {}, name),
    svg,
    makeAlternative(
      `${name}: the units that are nearly closed or nearly open most`,
      ["Unit", "Closed", "Open"],
      extremes(low, high).map((unit) => [unit, percent(low[unit]), percent(high[unit])]),
    ),
  );
}

/** The five units that are highest in each of two arrays. */
function extremes(...arrays) {
  const best = arrays.flatMap((values) =>
    Array.from(values.keys())
      .sort((a, b) => values[b] - values[a])
      .slice(0, 5),
  );
  return [...new Set(best)];
}
