// Follow a training by the events of its run.

import { useEffect, useState } from "../vendor/htm-preact.module.js";
import { ServerError, isAbort } from "../api.js";

const GATHER = 60; // milliseconds; the server tells all of the past at once
const PAUSES = [500, 1000, 2000, 5000]; // milliseconds, before each try to connect again

/**
 * What the events of a run have told.
 * @typedef {object} Log
 * @property {string | null} state
 * @property {object[]} metrics evaluations, in order
 * @property {string[]} previews the text after each evaluation, in the same order
 * @property {object | null} progress only of a training of this server
 * @property {{ state: string, error: string | null } | null} end
 * @property {boolean} isLost whether the connection was lost; another is tried
 * @property {string | null} problem why the run cannot be followed
 */

/** @returns {Log} */
const nothing = () => ({
  state: null,
  metrics: [],
  previews: [],
  progress: null,
  end: null,
  isLost: false,
  problem: null,
});

/** Return what is known of a run's training until its end; follow it again in each new round. */
export function useFollowed(api, name, round) {
  const [log, show] = useState(nothing);
  useEffect(() => {
    const stopper = new AbortController();
    follow(api, name, stopper.signal, show);
    return () => stopper.abort();
  }, [api, name, round]);
  return log;
}

/** Each connection tells everything from the beginning, so each begins a log of its own. */
async function follow(api, name, signal, show) {
  let shown = nothing();
  const publish = (log) => {
    if (!signal.aborted) show((shown = log));
  };
  for (let losses = 0; !signal.aborted; losses += 1) {
    const log = nothing();
    const gathered = gathering(() => publish(copy(log)));
    try {
      for await (const { event, data } of api.events(address(name, "events"), { signal })) {
        take(log, event, data);
        gathered.soon();
        losses = 0;
      }
    } catch (error) {
      if (isAbort(error)) return;
      if (!(error instanceof ServerError)) throw error;
      // Status 0 is a lost connection. After one above 500, the server may soon be there again.
      if (error.status && error.status < 500) {
        publish({ ...shown, problem: error.message });
        return;
      }
    } finally {
      gathered.now();
    }
    if (log.end) return;
    publish({ ...shown, isLost: true });
    await waited(PAUSES[Math.min(losses, PAUSES.length - 1)], signal);
  }
}

/** Return the address of something of a run. */
export const address = (name, part) => `v1/runs/${encodeURIComponent(name)}/${part}`;

function take(log, event, data) {
  if (event === "metrics") log.metrics.push(data);
  else if (event === "preview") log.previews[log.metrics.length - 1] = data.text;
  else if (event === "state") log.state = data.state;
  else if (event === "progress") log.progress = data;
  else if (event === "end") Object.assign(log, { end: data, state: data.state });
}

const copy = (log) => ({ ...log, metrics: [...log.metrics], previews: [...log.previews] });

/** Call `report` a moment after the first of several events. */
function gathering(report) {
  let timer = null;
  const now = () => {
    if (timer === null) return;
    clearTimeout(timer);
    timer = null;
    report();
  };
  return { now, soon: () => (timer ??= setTimeout(now, GATHER)) };
}

function waited(milliseconds, signal) {
  return new Promise((resolve) => {
    setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", resolve, { once: true });
  });
}
