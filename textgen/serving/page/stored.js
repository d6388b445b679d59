// What the browser keeps from one visit to the next.

/** Return an object that is kept under a key; an empty one if there is none, or it is damaged. */
export function stored(key) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
}

/** Keep an object under a key. */
export function store(key, value) {
  localStorage.setItem(key, JSON.stringify(value));
}
