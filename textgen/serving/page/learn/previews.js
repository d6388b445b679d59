// What the network wrote after each evaluation.

import { html, useState } from "../vendor/htm-preact.module.js";
import { duration, figure } from "./words.js";

const SHOWN = 5;

/** Return when an evaluation was, and its figures. */
export function after({ seconds, epoch, validation_loss: loss }) {
  const validation = loss == null ? "" : `, validation loss ${figure(loss)}`;
  return `after ${duration(seconds)}, epoch ${figure(epoch, 2)}${validation}`;
}

/** @param {{ metrics: object[], previews: string[] }} props previews are in the order of metrics */
export function Previews({ metrics, previews }) {
  const [isWhole, showAll] = useState(false);
  const newestFirst = previews.map((text, place) => ({ text, place })).reverse();
  if (!newestFirst.length) return null;
  const shown = isWhole ? newestFirst : newestFirst.slice(0, SHOWN);
  return html`
    <section aria-labelledby="previews">
      <h3 id="previews">What it wrote as it learned</h3>
      <ol reversed class="texts">
        ${shown.map(
          ({ text, place }) => html`
            <li key=${place}>
              <p class="when">${after(metrics[place])}</p>
              <blockquote dir="auto">${text}</blockquote>
            </li>
          `,
        )}
      </ol>
      ${shown.length < newestFirst.length &&
      html`<button type="button" onClick=${() => showAll(true)}>
        Show all ${newestFirst.length}
      </button>`}
    </section>
  `;
}
