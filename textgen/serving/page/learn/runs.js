// The runs that the server knows, and the evaluations of some of them.

import { useEffect, useRef, useState } from "../vendor/htm-preact.module.js";
import { address } from "./follow.js";
import { isGoingOn } from "./words.js";

const BUSY_SECONDS = 3; // between two looks, while a run is trained
const IDLE_SECONDS = 15;

/**
 * Return the list of runs, which is kept up to date while the page can be seen.
 * @returns {{ runs: object[] | null, trains: boolean, problem: string | null, refresh: Function }}
 */
export function useRuns(api) {
  const [known, learn] = useState({ runs: null, trains: false, problem: null });
  const refresh = useRef(async () => {});
  useEffect(() => {
    let timer = null;
    let looks = 0;
    const look = async () => {
      const number = ++looks;
      clearTimeout(timer);
      const found = await api
        .get("v1/runs")
        .then(({ runs, trains }) => ({ runs, trains, problem: null }))
        .catch((error) => ({ problem: error.message, isRefused: error.status === 401 }));
      if (number !== looks) return; // there was a later one
      learn((before) => ({ ...before, ...found }));
      if (found.isRefused) return; // the reader does not want to be asked for the key again
      const isBusy = found.runs?.some(({ state }) => isGoingOn(state));
      timer = setTimeout(lookIfSeen, 1000 * (isBusy ? BUSY_SECONDS : IDLE_SECONDS));
    };
    const lookIfSeen = () => document.visibilityState === "visible" && look();
    refresh.current = look;
    look();
    document.addEventListener("visibilitychange", lookIfSeen);
    return () => {
      looks += 1;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", lookIfSeen);
    };
  }, [api]);
  return { ...known, refresh: () => refresh.current() };
}

/** Return the evaluations of several runs by their names; they are read again after new ones. */
export function useMetrics(api, runs) {
  const [found, find] = useState({});
  const versions = useRef({});
  useEffect(() => {
    for (const run of runs) {
      const version = `${run.epochs} ${run.saved}`;
      if (versions.current[run.name] === version) continue;
      versions.current[run.name] = version;
      api
        .get(address(run.name, "metrics"))
        .then(({ metrics }) => find((before) => ({ ...before, [run.name]: metrics })))
        .catch(() => delete versions.current[run.name]); // tried again with the next list
    }
  }, [api, runs]);
  return found;
}
