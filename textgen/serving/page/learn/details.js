// One run: how its training goes, its figures, curves and texts.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.module.js";
import { Curves } from "./curves.js";
import { address, useFollowed } from "./follow.js";
import { Previews, after } from "./previews.js";
import { Rewriting, hasWritings } from "./rewriting.js";
import { LEVELS, counted, duration, figure, isGoingOn, moment, stateName } from "./words.js";

/**
 * @param {object} props
 * @param {object} props.run as in the list of runs; a new one has a name alone
 * @param {import("./curves.js").Curve[]} props.others runs to compare with
 * @param {boolean} props.takesFocus whether the reader has just asked for this run
 * @param {() => void} props.onNews called after each evaluation and change of state
 * @param {(end: object, log: object) => void} props.onEnd
 */
export function Details({ api, run, others, takesFocus, onNews, onEnd }) {
  const log = useFollowed(api, run.name, useRound(run.state));
  const heading = useRef(null);
  const state = log.state ?? run.state;
  const said = useAnnounced(run, log);
  useEffect(() => {
    if (takesFocus) heading.current.focus();
  }, []);
  useEffect(() => {
    if (log.state !== null) onNews();
  }, [log.state, log.metrics.length]);
  useEffect(() => {
    if (log.end) onEnd(log.end, log);
  }, [log.end]);
  const hasWeights = log.metrics.length > 0 || run.saved != null;
  const isGoing = isGoingOn(state);
  const wasGoing = useRef(false); // what it wrote stays when it is trained
  wasGoing.current ||= isGoing || hasWritings(run.name);
  const curves = [{ name: run.name, level: run.level, metrics: log.metrics }, ...others];
  return html`
    <article class="details" aria-labelledby="run">
      <header>
        <h2 id="run" tabindex="-1" ref=${heading}>${run.name}</h2>
        <p class="state">${hasWeights || isGoing ? stateName(state) : ""}</p>
        ${hasWeights &&
        html`<a class="button" href=${`#write?model=${encodeURIComponent(run.name)}`}>
          Write with it
        </a>`}
      </header>
      <p role="status" class="unseen">${said}</p>
      ${log.isLost &&
      html`<p class="warn">
        The connection to the server is lost. This page tries again.
      </p>`}
      <p class="warn" role="alert">${problemOf(run, log)}</p>
      ${isGoing && html`<${Going} api=${api} name=${run.name} state=${state} log=${log} />`}
      ${(log.metrics.length > 0 || isGoing) && html`<${Curves} curves=${curves} />`}
      ${wasGoing.current &&
      html`<${Rewriting} api=${api} name=${run.name} level=${run.level} metrics=${log.metrics} />`}
      <${Previews} metrics=${log.metrics} previews=${log.previews} />
      ${run.level && html`<${Figures} run=${run} metrics=${log.metrics} isGoing=${isGoing} />`}
    </article>
  `;
}

/** Return what is wrong with a run, in a sentence. */
function problemOf(run, { end, metrics, problem }) {
  if (problem) return problem;
  const error = end?.error ?? run.error;
  if (error && end?.state !== "failed" && run.state !== "failed") return `It is damaged: ${error}.`;
  if (error) return `The training failed: ${error}.`;
  const isEmpty = end?.state === "stopped" && !metrics.length && run.saved == null;
  return isEmpty ? "It was stopped before it had learned anything." : null;
}

/** A training that waits or goes on: how far it is, and how to stop it. */
function Going({ api, name, state, log }) {
  const [problem, complain] = useState(null);
  const { progress } = log;
  const stop = () =>
    api.remove(address(name, "training")).catch((error) => complain(error.message));
  return html`
    <div class="going">
      ${progress?.share != null &&
      html`<progress aria-label="Training" max="1" value=${progress.share}></progress>`}
      <p>${sentence(state, log)}</p>
      ${progress &&
      state !== "stopping" &&
      html`<button type="button" onClick=${stop}>
        ${log.metrics.length ? "Stop and keep" : "Stop"}
      </button>`}
      <p class="warn" role="alert">${problem}</p>
    </div>
  `;
}

/** Return how a training goes, in a sentence. */
function sentence(state, { state: told, metrics, progress }) {
  if (state === "stopping") return "It is being saved.";
  if (state === "queued") {
    const before = progress?.position ?? 0;
    if (!before) return "It begins in a moment.";
    return before === 1
      ? "It waits for the training before it."
      : `It waits for the ${before} trainings before it.`;
  }
  if (progress?.seconds_left != null) {
    const { seconds, seconds_left: left } = progress;
    return `${duration(seconds)} of about ${duration(seconds + left)}; ${duration(left)} left.`;
  }
  if (progress && progress.seconds == null) return "It starts, and reads the text.";
  const last = metrics[metrics.length - 1];
  const time = last ? `It has learned for ${duration(progress?.seconds ?? last.seconds)}.` : "";
  // The server tells the progress of its own trainings alone, and at once.
  const isOurs = progress !== null || told === null;
  return isOurs ? time || "It learns." : `${time} Another program trains it.`;
}

function Figures({ run, metrics, isGoing }) {
  const last = metrics[metrics.length - 1] ?? run;
  // The temperature that is fitted at the end, and the loss at it, are in the run alone.
  const judged = isGoing ? metrics.filter((line) => line.validation_loss != null) : [];
  const best = judged.length
    ? judged.reduce((a, b) => (b.validation_loss < a.validation_loss ? b : a))
    : run;
  const rows = [
    ["text", run.books?.join(", ")],
    ["length", `${counted(run.tokens)} ${LEVELS[run.level] ?? "tokens"}`],
    ["distinct", counted(run.vocabulary)],
    ["network", `${run.architecture}, ${counted(run.weights)} weights`],
    ["validation loss", figure(best.validation_loss)],
    ["bits per character", figure(best.bits_per_character)],
    best.temperature && ["fitted temperature", figure(best.temperature, 2)],
    ["trained for", `${duration(last.seconds)}, ${figure(last.epoch ?? last.epochs, 2)} epochs`],
    ["saved", moment(run.saved)],
  ];
  return html`
    <section aria-labelledby="figures">
      <h3 id="figures">Figures</h3>
      <dl>
        ${rows.filter(Boolean).map(
          ([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`,
        )}
      </dl>
    </section>
  `;
}

/** Return how often a run that was trained has begun to be trained further. */
function useRound(state) {
  const known = useRef({ round: 0, isOver: false });
  const { current } = known;
  if (state !== undefined && isGoingOn(state) && current.isOver) current.round += 1;
  current.isOver = state !== undefined && !isGoingOn(state);
  return current.round;
}

/** Return a sentence on what is new since the run was first shown. */
function useAnnounced(run, { state, metrics }) {
  const [said, say] = useState("");
  const known = useRef({ epoch: run.epochs ?? 0, state: stateName(run.state) });
  const last = metrics[metrics.length - 1];
  useEffect(() => {
    const name = stateName(state);
    if (state === null || name === known.current.state) return;
    known.current.state = name;
    say(`${run.name} is ${name}`);
  }, [state]);
  useEffect(() => {
    if (!last || last.epoch <= known.current.epoch) return;
    known.current.epoch = last.epoch;
    say(`${run.name} ${after(last)}`);
  }, [last]);
  return said;
}
