// Several texts side by side, from one prompt: at different temperatures, or of different models.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.module.js";
import { isAbort } from "../api.js";
import { generate } from "./generate.js";

const MOST = 12;
const SHOW = 100; // milliseconds between two looks at texts that grow

export function Compare({ desk }) {
  const { settings, session } = desk;
  const [temperatures, setTemperatures] = useState("0.5, 0.8, 1.1");
  const [chosen, choose] = useState([]);
  const [texts, setTexts] = useState([]);
  const stopper = useRef(null);
  useEffect(() => () => stopper.current?.abort(), []);
  const isWriting = texts.some(({ state }) => state === "writing");
  const models = chosen.length ? chosen : [settings.model];
  const wanted = temperatures.split(/[\s,;]+/).filter((one) => one !== "");
  const pairs = models.flatMap((model) => wanted.map((temperature) => ({ model, temperature })));

  const begin = async () => {
    session.stop();
    stopper.current?.abort();
    const { signal } = (stopper.current = new AbortController());
    const { history, text } = session;
    const parent = history.current;
    const at = desk.caret.end;
    const request = settings.request(); // one seed for all
    const own = pairs.slice(0, MOST).map(({ model, temperature }) => {
      const made = { ...request, model, temperature: Number(temperature) };
      return { made, text: "", state: "writing", problem: null, kept: null };
    });
    const timer = setInterval(() => setTexts([...own]), SHOW);
    setTexts([...own]);
    await Promise.all(
      own.map(async (one) => {
        try {
          const prompt = text.slice(0, at);
          for await (const part of generate(desk.api, { ...one.made, prompt }, signal)) {
            one.text += part.text;
            one.made.weights = part.weights;
          }
        } catch (error) {
          if (!isAbort(error)) one.problem = error.message;
        }
        one.state = "done";
        // Another text may have been opened meanwhile.
        if (one.text && session.history === history) {
          one.kept = session.keep(parent, at, one.text, one.made);
        }
      }),
    );
    clearInterval(timer);
    if (stopper.current.signal === signal) setTexts([...own]);
  };

  return html`
    <div class="control">
      <label for="compare-temperatures">Temperatures</label>
      <input
        id="compare-temperatures"
        value=${temperatures}
        onInput=${(event) => setTemperatures(event.target.value)}
      />
    </div>
    <fieldset>
      <legend>Models</legend>
      ${(settings.models ?? []).map(
        (name) => html`
          <label>
            <input
              type="checkbox"
              checked=${models.includes(name)}
              onChange=${({ target }) => {
                const others = models.filter((one) => one !== name);
                choose(target.checked ? [...others, name] : others);
              }}
            />
            ${name}
          </label>
        `,
      )}
    </fieldset>
    <p class="buttons">
      ${isWriting
        ? html`<button type="button" onClick=${() => stopper.current.abort()}>Stop all</button>`
        : html`<button type="button" disabled=${!settings.model || !pairs.length} onClick=${begin}>
            Write ${Math.min(pairs.length, MOST)} texts
          </button>`}
    </p>
    <p class="hint">From the text before the caret. All are kept in the history.</p>
    <div class="beside-texts">
      ${texts.map(
        (one) => html`
          <article aria-label=${`${one.made.model} at ${one.made.temperature}`}>
            <h3>${one.made.temperature} <span class="hint">${one.made.model}</span></h3>
            <p class="text" dir="auto">${one.text}</p>
            ${one.problem && html`<p class="warn" role="alert">${one.problem}</p>`}
            ${one.kept &&
            html`<button type="button" onClick=${() => desk.goTo(one.kept)}>Take this</button>`}
          </article>
        `,
      )}
    </div>
  `;
}
