// Switches for what is shown in the text, with what the colours mean.

import { html } from "../vendor/htm-preact.module.js";
import { useTold } from "../told.js";
import { Passage } from "./list.js";
import { percent } from "./proposals.js";

const MOST = 30; // passages in the list

export function Looking({ desk }) {
  const { see, session } = desk;
  useTold(see);
  const toggle = (name, label, hint) => html`
    <div class="switch">
      <label>
        <input
          type="checkbox"
          checked=${see[name]}
          aria-describedby=${`see-${name}`}
          onChange=${(event) => see.set(name, event.target.checked)}
        />
        ${label}
      </label>
      <p class="hint" id=${`see-${name}`}>${hint}</p>
    </div>
  `;
  const longest = [...see.copied].sort((a, b) => b.end - b.start - (a.end - a.start));
  return html`
    <p class="legend">
      <span class="is-prompt">prompt</span> <span class="is-model">the model</span>${" "}
      <span class="is-edit">edited or added since</span>
    </p>
    ${toggle("pointer", "Likeliest tokens at the pointer", "Click one, and the text goes on from there.")}
    ${toggle("surprise", "Colour by surprise", "The less likely the model held a token, the deeper its colour.")}
    ${see.surprise &&
    html`<p class="legend">
      <span class="surprise-1">2 bits</span> <span class="surprise-2">4</span>${" "}
      <span class="surprise-3">6</span> <span class="surprise-4">9 and more</span>
    </p>`}
    ${toggle("passages", "Underline what is copied", "Passages that stand word for word in the training text.")}
    ${see.problem && html`<p class="warn" role="alert">${see.problem}</p>`}
    ${see.passages &&
    see.share !== null &&
    html`
      <p>${percent(see.share)} of the text is copied.</p>
      <ul class="passages">
        ${longest.slice(0, MOST).map(
          (passage) => html`
            <li>
              <${Passage} passage=${passage} text=${session.text} />
              <button type="button" onClick=${() => desk.show(passage)}>Show</button>
            </li>
          `,
        )}
      </ul>
    `}
  `;
}
