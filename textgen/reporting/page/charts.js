// Axes, and what is drawn on them.

const WIDTH = 340;
const HEIGHT = 190;
const MARGIN = { left: 56, right: 18, top: 8, bottom: 38 };

/** An axis: the place of a value, and ticks; `log` for powers of ten. */
function makeAxis({ from, to, log = false, ticks, format = String, label }) {
  const scaled = (value) => (log ? Math.log10(value) : value);
  const share = (value) => (scaled(value) - scaled(from)) / (scaled(to) - scaled(from));
  return { share, ticks: ticks ?? roundTicks(from, to), format, label };
}

/** About five round numbers from `from` to `to`. */
function roundTicks(from, to) {
  const rough = (to - from) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let i = Math.ceil(from / step); i * step <= to + step / 1000; i++) {
    ticks.push(Number((i * step).toPrecision(6)));
  }
  return ticks;
}

/** A chart with both axes drawn: { svg, x, y }, the functions being places of values. */
function makeChart(name, xAxis, yAxis, { width = WIDTH, height = HEIGHT } = {}) {
  const [wide, high] = [width - MARGIN.left - MARGIN.right, height - MARGIN.top - MARGIN.bottom];
  const x = (value) => MARGIN.left + xAxis.share(value) * wide;
  const y = (value) => MARGIN.top + (1 - yAxis.share(value)) * high;
  const bottom = MARGIN.top + high;
  const middle = MARGIN.top + high / 2;
  const write = (text, settings) => makeSvg("text", settings, text);
  const svg = makeSvg(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name, class: "chart" },
    ...yAxis.ticks.map((tick) =>
      makeSvg("path", { class: "grid", d: `M${MARGIN.left} ${y(tick)}h${wide}` }),
    ),
    makeSvg("path", { class: "axis", d: `M${MARGIN.left} ${bottom}h${wide}` }),
    ...yAxis.ticks.map((tick) =>
      write(yAxis.format(tick), { x: MARGIN.left - 5, y: y(tick) + 4, class: "left" }),
    ),
    ...xAxis.ticks.map((tick) =>
      write(xAxis.format(tick), { x: x(tick), y: bottom + 15, class: "below" }),
    ),
    write(xAxis.label, { x: MARGIN.left + wide / 2, y: height - 5, class: "below label" }),
    write(yAxis.label, {
      x: 11,
      y: middle,
      class: "below label",
      transform: `rotate(-90 11 ${middle})`,
    }),
  );
  return { svg, x, y };
}

/** Draw a line through points [[x, y]], with the points. */
function drawLine({ svg, x, y }, points, name) {
  const places = points.map(([a, b]) => `${x(a)} ${y(b)}`);
  svg.append(makeSvg("path", { class: `line ${name}`, d: `M${places.join("L")}` }));
  for (const [a, b] of points) {
    svg.append(makeSvg("circle", { class: `dot ${name}`, cx: x(a), cy: y(b), r: 2.5 }));
  }
}

/** Draw a bar from one value to another, of a height, told at the pointer. */
function drawColumn({ svg, x, y }, from, to, value, told, settings = {}) {
  const width = Math.max(x(to) - x(from) - 1, 0.5);
  const column = { x: x(from) + 0.5, y: y(value), width, height: y(0) - y(value) };
  svg.append(makeSvg("rect", { class: "column", ...column, ...settings }, makeSvg("title", {}, told)));
}
