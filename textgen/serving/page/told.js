// Things that tell others when they change.

import { useEffect, useReducer } from "./vendor/htm-preact.module.js";

export class Told {
  #listeners = new Set();

  /** Call `listener(change)` after each change; return a function that ends this. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  tell(change = null) {
    for (const listener of [...this.#listeners]) listener(change);
  }
}

/** Render a component again when `thing` changes; `filter` tells after which changes. */
export function useTold(thing, filter = () => true) {
  const [, render] = useReducer((count) => count + 1, 0);
  useEffect(() => thing.listen((change) => filter(change) && render()), [thing]);
}
