// The view Learn: runs and their curves, and trainings that begin here.

import { html, useEffect, useState } from "../vendor/htm-preact.module.js";
import { Begin } from "./begin.js";
import { Details } from "./details.js";
import { RunList } from "./runlist.js";
import { useMetrics, useRuns } from "./runs.js";
import { isGoingOn } from "./words.js";

export function Learn({ api }) {
  const { runs, trains, problem, refresh } = useRuns(api);
  const { asked, changes } = useAskedRun();
  const [ticked, setTicked] = useState([]);
  const [begun, setBegun] = useState([]); // names of the trainings begun here
  const [failure, setFailure] = useState(null);

  const known = runs ?? [];
  // A training that has just begun is not in the list yet.
  const chosen = asked
    ? (known.find(({ name }) => name === asked) ?? { name: asked })
    : first(known);
  const compared = known.filter(({ name }) => ticked.includes(name) && name !== chosen?.name);
  const metrics = useMetrics(api, compared);

  const tick = (name, isTicked) => {
    setTicked((before) => {
      const others = before.filter((other) => other !== name);
      return isTicked ? [...others, name] : others;
    });
  };
  const begin = (name) => {
    setFailure(null);
    setBegun((before) => [...before, name]);
    // The text may have been sent while the reader went to another view.
    if (location.hash.startsWith("#learn")) location.hash = `#learn?run=${name}`;
    refresh();
  };
  const end = (name, { state, error }, { metrics }) => {
    refresh();
    if (state !== "failed" || metrics.length || !begun.includes(name)) return;
    setFailure({ name, error });
    location.hash = "#learn";
  };

  if (!runs) {
    return problem
      ? html`<p role="alert" class="warn">${problem}</p>`
      : html`<p role="status" class="hint">Loading …</p>`;
  }
  return html`
    <div class="learn">
      <h1 class="unseen">Learn</h1>
      <p class="warn" role="alert">${problem}</p>
      <div class="side">
        ${trains
          ? html`<${Begin} api=${api} runs=${known} failure=${failure} onBegun=${begin} />`
          : html`<${HowToTrain} />`}
        ${known.length > 0 &&
        html`<${RunList} runs=${known} chosen=${chosen?.name} ticked=${ticked} onTick=${tick} />`}
      </div>
      ${chosen &&
      html`<${Details}
        key=${`${chosen.name} ${begun.filter((name) => name === chosen.name).length}`}
        api=${api}
        run=${chosen}
        others=${compared.map(({ name, level }) => ({ name, level, metrics: metrics[name] ?? [] }))}
        takesFocus=${changes > 0}
        onNews=${refresh}
        onEnd=${(result, log) => end(chosen.name, result, log)}
      />`}
    </div>
  `;
}

/** Return the run that is shown at first: the one that is trained, or the newest. */
const first = (runs) =>
  runs.find(({ state }) => isGoingOn(state)) ?? runs.find(({ state }) => state !== "failed");

/** Return the run that the address asks for, as in #learn?run=book, and how often it changed. */
function useAskedRun() {
  const [found, find] = useState({ asked: askedRun(), changes: 0 });
  useEffect(() => {
    const listen = () => find(({ changes }) => ({ asked: askedRun(), changes: changes + 1 }));
    addEventListener("hashchange", listen);
    return () => removeEventListener("hashchange", listen);
  }, []);
  return found;
}

const askedRun = () => new URLSearchParams(location.hash.split("?")[1]).get("run");

function HowToTrain() {
  return html`
    <section class="begin" aria-labelledby="begin">
      <h2 id="begin">Train on a text of yours</h2>
      <p>
        To train from this page, start the server with <code>textgen serve --train</code>; in a
        terminal, <code>textgen train book.txt --minutes 5</code> does the same.
      </p>
    </section>
  `;
}
