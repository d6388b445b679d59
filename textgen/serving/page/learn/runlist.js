// The runs, with their figures, to choose one and compare several.

import { html } from "../vendor/htm-preact.module.js";
import { LEVELS, duration, figure, moment, short, stateName } from "./words.js";

/**
 * @param {object} props
 * @param {object[]} props.runs
 * @param {string} props.chosen
 * @param {string[]} props.ticked names of runs that are compared with the chosen one
 * @param {(name: string, isTicked: boolean) => void} props.onTick
 */
export function RunList({ runs, chosen, ticked, onTick }) {
  return html`
    <section class="runs" aria-labelledby="runs">
      <h2 id="runs">Runs</h2>
      <p class="hint">Tick runs to see their curves together.</p>
      <table>
        <thead>
          <tr>
            <th scope="col"><span class="unseen">Compare</span></th>
            <th scope="col">Run</th>
            <th scope="col">Bits per character</th>
            <th scope="col">Trained for</th>
          </tr>
        </thead>
        <tbody>
          ${runs.map(
            (run) => html`<${Row}
              key=${run.name}
              run=${run}
              isChosen=${run.name === chosen}
              isTicked=${ticked.includes(run.name)}
              onTick=${onTick}
            />`,
          )}
        </tbody>
      </table>
    </section>
  `;
}

function Row({ run, isChosen, isTicked, onTick }) {
  const about = [
    stateName(run.state),
    run.tokens && `${short(run.tokens)} ${LEVELS[run.level] ?? "tokens"}`,
    run.saved && moment(run.saved),
  ];
  return html`
    <tr class=${isChosen ? "chosen" : ""}>
      <td>
        <input
          type="checkbox"
          aria-label=${`Compare ${run.name}`}
          checked=${isChosen || isTicked}
          disabled=${isChosen}
          onChange=${(event) => onTick(run.name, event.currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <a href=${`#learn?run=${encodeURIComponent(run.name)}`} aria-current=${isChosen && "true"}>
          ${run.name}
        </a>
        <span class="about">${about.filter(Boolean).join(", ")}</span>
      </th>
      <td>${figure(run.bits_per_character)}</td>
      <td>${duration(run.seconds)}</td>
    </tr>
  `;
}
