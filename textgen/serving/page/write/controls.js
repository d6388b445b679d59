// The controls of sampling, each with its sentence. The server tells which there are.

import { html, useState } from "../vendor/htm-preact.module.js";
import { PRESETS } from "./settings.js";

export function Controls({ desk }) {
  const { settings, session } = desk;
  const { problem } = session;
  return html`
    <div class="buttons" role="group" aria-label="Presets">
      ${Object.entries(PRESETS).map(
        ([name, { title }]) => html`
          <button
            type="button"
            aria-pressed=${settings.preset === name}
            onClick=${() => settings.usePreset(name)}
          >
            ${title}
          </button>
        `,
      )}
    </div>
    ${settings.options.map((option) => {
      const [Control, named] = [CONTROLS[option.type], `option-${option.name}`];
      const isWrong = problem?.param === option.name;
      return html`
        <div class="control" key=${option.name}>
          <label for=${named}>${titleOf(option.name)}</label>
          <${Control}
            id=${named}
            option=${option}
            value=${settings.value(option.name)}
            set=${(value) => settings.set(option.name, value)}
            described=${{ "aria-describedby": `${named}-help`, "aria-invalid": isWrong }}
          />
          <p class="hint" id=${`${named}-help`}>
            ${isWrong && html`<span class="warn">${problem.message} </span>`}${option.help}
          </p>
        </div>
      `;
    })}
    <div class="control">
      <label for="option-seed">Seed</label>
      <input
        id="option-seed"
        inputmode="numeric"
        pattern="\\d{1,15}"
        placeholder="new each time"
        value=${settings.seed}
        aria-describedby="option-seed-help"
        onChange=${(event) => {
          const { value } = event.target;
          settings.choose({ seed: /^\d{1,15}$/.test(value) ? value : "" });
          event.target.value = settings.seed;
        }}
      />
      <p class="hint" id="option-seed-help">The same number gives the same text again.</p>
    </div>
  `;
}

const CONTROLS = { integer: Numeric, number: Numeric, schedule: Schedule, boolean: Flag, texts: Lines };

function Numeric({ id, option, value, set, described }) {
  const { type, least, most } = option;
  const change = ({ target }) => {
    const number = Number(target.value);
    set(target.value === "" || !Number.isFinite(number) ? undefined : number);
  };
  return html`
    <input
      id=${id}
      type="number"
      ...${described}
      step=${type === "integer" ? 1 : "any"}
      min=${least}
      max=${most}
      placeholder="off"
      value=${value ?? ""}
      onChange=${change}
    />
  `;
}

/** A number, for which there is a slider, or a text such as 1.2:0.6. */
function Schedule({ id, option, value, set, described }) {
  const change = ({ target }) => {
    const number = Number(target.value);
    set(target.value === "" ? undefined : Number.isNaN(number) ? target.value : number);
  };
  return html`
    <span class="pair">
      <input
        type="range"
        aria-label=${`${titleOf(option.name)}, as a slider`}
        min="0"
        max="2"
        step="0.05"
        value=${typeof value === "number" ? value : option.default}
        onInput=${change}
      />
      <input id=${id} ...${described} size="6" value=${value ?? ""} onChange=${change} />
    </span>
  `;
}

function Flag({ id, value, set, described }) {
  return html`
    <input
      id=${id}
      type="checkbox"
      ...${described}
      checked=${value}
      onChange=${(event) => set(event.target.checked)}
    />
  `;
}

/** Several texts, one in each line; `\n` is a line break. */
function Lines({ id, value, set, described }) {
  const [typed, type] = useState(null);
  const change = ({ target }) => {
    type(null);
    const lines = target.value.split("\n").filter((line) => line);
    set(lines.map((line) => line.replace(/\\([nt\\])/g, (_, c) => ({ n: "\n", t: "\t" })[c] ?? c)));
  };
  const shown = (value ?? []).map((text) =>
    text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll("\t", "\\t"),
  );
  return html`
    <textarea
      id=${id}
      rows="2"
      ...${described}
      placeholder="none; one in each line"
      value=${typed ?? shown.join("\n")}
      onInput=${(event) => type(event.target.value)}
      onChange=${change}
    ></textarea>
  `;
}

function titleOf(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}
