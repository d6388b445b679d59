// What the browser keeps from one visit to the next, if it keeps anything: it may be told not to,
// or have no room.

const unkept = new Map(); // lasts as long as the page

/** Return the value that is kept under a key; null if there is none, or it is damaged. */
export function stored(key) {
  if (unkept.has(key)) return unkept.get(key);
  try {
    return JSON.parse(localStorage.getItem(key));
  } catch {
    return null;
  }
}

/** Keep a value under a key. */
export function store(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
    unkept.delete(key);
  } catch {
    unkept.set(key, value);
  }
}
