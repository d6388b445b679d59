// Curves of the loss over time, of one run or of several, and the same figures as a table.

import { html, useEffect, useMemo, useRef, useState } from "../vendor/htm-preact.module.js";
import uPlot from "../vendor/uPlot.esm.js";
import { duration, figure } from "./words.js";

const COLOURS = 6; // --curve-1 to --curve-6 in learn.css
const HEIGHT = 260;
const STEPS = [1, 2, 5, 10, 15, 30].flatMap((n) => [n, 60 * n, 3600 * n]).sort((a, b) => a - b);

/** What the curves may show. Training has no bits per character. */
const MEASURES = {
  loss: { title: "Loss, in nats per token", of: "validation_loss", training: "loss" },
  bits: { title: "Bits per character", of: "bits_per_character" },
};

/**
 * @typedef {object} Curve
 * @property {string} name of the run
 * @property {string} level
 * @property {object[]} metrics evaluations, in order
 */

/** @param {{ curves: Curve[] }} props the chosen run comes first */
export function Curves({ curves }) {
  const drawn = curves.filter(({ metrics }) => metrics.length);
  const levels = new Set(drawn.map(({ level }) => level));
  const [chosen, choose] = useState(null);
  const [isOpen, open] = useState(false);
  // The loss per token of runs whose tokens differ cannot be compared.
  const measure = chosen ?? (levels.size > 1 ? "bits" : "loss");
  if (!drawn.length) return html`<p class="hint">No evaluation yet; the curve begins soon.</p>`;
  return html`
    <figure class="curves">
      <fieldset class="choices">
        <legend class="unseen">What the curves show</legend>
        ${Object.entries(MEASURES).map(
          ([name, { title }]) => html`
            <label>
              <input
                type="radio"
                name="measure"
                checked=${measure === name}
                onChange=${() => choose(name)}
              />
              ${title}
            </label>
          `,
        )}
      </fieldset>
      <${Plot} curves=${drawn} measure=${MEASURES[measure]} />
      <figcaption>
        ${measure === "loss"
          ? "Solid: on the part of the text that is held out. Dashed: on the part it learns from. "
          : "On the part of the text that is held out. "}
        Lower is better.
        ${measure === "loss" && levels.size > 1
          ? " These runs have different tokens: compare their bits per character."
          : null}
      </figcaption>
      <details onToggle=${(event) => open(event.currentTarget.open)}>
        <summary>The same as a table</summary>
        ${isOpen && drawn.map((curve) => html`<${Table} key=${curve.name} ...${curve} />`)}
      </details>
    </figure>
  `;
}

function Plot({ curves, measure }) {
  const place = useRef(null);
  const plot = useRef(null);
  const theme = useTheme();
  const data = useMemo(() => aligned(curves, measure), [curves, measure]);
  const kind = [theme, measure.of, ...curves.map(({ name }) => name)].join(" ");
  useEffect(() => {
    const element = place.current;
    const made = new uPlot(settings(element, curves, measure), data, element);
    plot.current = made;
    const sizes = new ResizeObserver(() => {
      made.setSize({ width: element.clientWidth, height: HEIGHT });
    });
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      made.destroy();
    };
  }, [kind]);
  useEffect(() => {
    if (plot.current.data !== data) plot.current.setData(data);
  }, [data]);
  const label = curves.map((curve) => summary(curve, measure)).join(" ");
  // The figures under the pointer are for the eye; the table has them all.
  return html`
    <div role="img" aria-label=${label}><div ref=${place} aria-hidden="true"></div></div>
  `;
}

/** Return "dark" or "light", and again when that changes. */
function useTheme() {
  const dark = useMemo(() => matchMedia("(prefers-color-scheme: dark)"), []);
  const [isDark, change] = useState(dark.matches);
  useEffect(() => {
    const listen = () => change(dark.matches);
    dark.addEventListener("change", listen);
    return () => dark.removeEventListener("change", listen);
  }, []);
  return isDark ? "dark" : "light";
}

/** Return the columns of the plot: seconds, and then those of each curve. */
function aligned(curves, measure) {
  const tables = curves.map(({ metrics }) =>
    ["seconds", ...columns(measure)].map((name) => metrics.map((line) => line[name])),
  );
  return tables.length === 1 ? tables[0] : uPlot.join(tables);
}

const columns = ({ of, training }) => (training ? [of, training] : [of]);

function settings(element, curves, measure) {
  const style = getComputedStyle(element);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = {
    stroke: colour("--faint"),
    font: `12px ${style.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { stroke: colour("--line"), width: 1 },
  };
  const series = curves.flatMap(({ name }, place) =>
    columns(measure).map((column) => ({
      label: column === measure.of ? name : `${name}, training`,
      stroke: colour(`--curve-${1 + (place % COLOURS)}`),
      width: column === measure.of ? 2 : 1.5,
      dash: column === measure.of ? undefined : [4, 4],
      spanGaps: true,
      // A curve of one evaluation is a point.
      points: { show: (plot, at) => plot.data[at].filter((value) => value != null).length < 2 },
      value: (_, value) => figure(value),
    })),
  );
  return {
    width: element.clientWidth,
    height: HEIGHT,
    scales: { x: { time: false, range: (_, __, last) => [0, last || 1] } },
    series: [{ label: "after", value: (_, value) => duration(value) }, ...series],
    axes: [
      { ...axis, incrs: STEPS, space: 75, values: (_, values) => values.map(duration) },
      { ...axis, size: 56 },
    ],
    cursor: { drag: { x: false, y: false }, points: { size: 7 } },
  };
}

/** Return what a curve shows in a sentence. */
function summary({ name, metrics }, measure) {
  const name_of = metrics.some((line) => line[measure.of] != null) ? measure.of : measure.training;
  const judged = metrics.filter((line) => line[name_of] != null);
  if (!judged.length) return `${name}: no figures yet.`;
  const best = judged.reduce((a, b) => (b[name_of] < a[name_of] ? b : a));
  const [first, last] = [judged[0], judged[judged.length - 1]];
  return (
    `${name}: ${measure.title.toLowerCase()} from ${figure(first[name_of])} to ` +
    `${figure(last[name_of])} after ${duration(last.seconds)}, ` +
    `best ${figure(best[name_of])} after ${duration(best.seconds)}.`
  );
}

function Table({ name, metrics }) {
  return html`
    <div class="scrolled" tabindex="0" role="region" aria-label=${`Figures of ${name}`}>
      <table class="figures">
        <caption>
          ${name}
        </caption>
        <thead>
          <tr>
            <th scope="col">after</th>
            <th scope="col">epoch</th>
            <th scope="col">training loss</th>
            <th scope="col">validation loss</th>
            <th scope="col">bits per character</th>
          </tr>
        </thead>
        <tbody>
          ${metrics.map(
            (line) => html`
              <tr key=${line.step}>
                <th scope="row">${duration(line.seconds)}</th>
                <td>${figure(line.epoch, 2)}</td>
                <td>${figure(line.loss)}</td>
                <td>${figure(line.validation_loss)}</td>
                <td>${figure(line.bits_per_character)}</td>
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}
