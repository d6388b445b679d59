// The same beginning, written again by each newer set of weights.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.module.js";
import { after } from "./previews.js";

const SEED = 1; // the same draw each time, so that texts differ by the weights alone
const LENGTHS = { char: 300, byte: 300, word: 80 }; // tokens

/** @typedef {{ text: string, weights: string, line: object }} Writing */

/**
 * What was written while this page is open, by the names of runs. Weights are replaced as a run
 * learns, so it cannot be written again.
 * @type {Map<string, { prompt: string | null, writings: Writing[] }>}
 */
const kept = new Map();

export const hasWritings = (name) => kept.has(name);

/** @param {{ api: object, name: string, level: string, metrics: object[] }} props */
export function Rewriting({ api, name, level, metrics }) {
  const [found, find] = useState(kept.get(name) ?? { prompt: null, writings: [] });
  const [asked, ask] = useState(found.prompt); // null until the reader gives a beginning
  const [times, count] = useState(0); // that it was given
  const [prompt, setPrompt] = useState(asked ?? "");
  const latest = useRef(null);
  latest.current = asked;
  const [problem, complain] = useState(null);
  const evaluations = metrics.length;

  useEffect(() => {
    if (asked === null || !evaluations) return;
    const line = metrics[evaluations - 1];
    const body = { model: name, prompt: asked, seed: SEED, max_tokens: LENGTHS[level] ?? 300 };
    api
      .post("v1/completions", body)
      .then(({ choices: [{ text }], system_fingerprint: weights }) => {
        if (latest.current !== asked) return;
        find((before) => added(before, asked, { text, weights, line }));
        complain(null);
      })
      .catch((error) => latest.current === asked && complain(error.message));
  }, [api, name, asked, times, evaluations]);
  useEffect(() => {
    if (found.prompt !== null) kept.set(name, found);
  }, [name, found]);

  const submit = (event) => {
    event.preventDefault();
    ask(prompt);
    count(times + 1);
  };
  const writings = found.prompt === asked ? found.writings : [];
  return html`
    <section class="rewriting" aria-labelledby="rewriting">
      <h3 id="rewriting">One beginning, again and again</h3>
      <form onSubmit=${submit}>
        <label for="beginning">Give a beginning. Each newer network goes on from it.</label>
        <div class="row">
          <input
            id="beginning"
            dir="auto"
            autocomplete="off"
            value=${prompt}
            onInput=${(event) => setPrompt(event.currentTarget.value)}
            aria-invalid=${problem !== null}
            aria-describedby="beginning-problem"
          />
          <button type="submit">Write</button>
        </div>
        <p id="beginning-problem" class="warn" role="alert">${problem}</p>
      </form>
      <ol reversed class="texts">
        ${writings.map(
          ({ text, weights, line }) => html`
            <li key=${weights}>
              <p class="when">${after(line)}</p>
              <blockquote dir="auto"><b>${asked}</b>${text}</blockquote>
            </li>
          `,
        )}
      </ol>
    </section>
  `;
}

/** Add a writing. Weights that are not better are not kept, and have no writing of their own. */
function added(before, prompt, writing) {
  const others = before.prompt === prompt ? before.writings : [];
  if (others.some(({ weights }) => weights === writing.weights)) return before;
  const writings = [writing, ...others].sort((a, b) => b.line.step - a.line.step);
  return { prompt, writings };
}
