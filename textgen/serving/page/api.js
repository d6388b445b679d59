// Requests to the server: JSON, server-sent events and uploads, with the key, and errors in plain
// words.

import { eventsOf } from "./events.js";
import { store, stored } from "./stored.js";

/** The server's root; the page may be mounted below another address. */
const ROOT = new URL("../", import.meta.url);
const KEY = "textgen.key";

/** A request that failed. `message` can be shown as it is; `status` is 0 without an answer. */
export class ServerError extends Error {
  constructor(message, { status = 0, code = null, param = null } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.param = param;
  }
}

let askForKey = () => Promise.resolve(null);
let asking = null;

/** Call `ask(wrong)` for a key when the server wants one; it returns a promise of a key or null. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

/**
 * Send a request; return the Response of one that succeeded.
 *
 * @param {string} method
 * @param {string} path such as "v1/runs"
 * @param {{query?: object, body?: BodyInit|object, signal?: AbortSignal}} [options] A plain object
 *   is sent as JSON. Undefined and null are left out of the query.
 * @throws {ServerError} with the server's words, or if it cannot be reached
 * @throws {DOMException} AbortError, if `signal` was aborted
 */
async function send(method, path, { query, body, signal } = {}) {
  const isJson = body !== undefined && Object.getPrototypeOf(body) === Object.prototype;
  const content = isJson ? JSON.stringify(body) : body;
  const answer = await withKey(async (key) => {
    const headers = key ? { Authorization: bearer(key) } : {};
    if (isJson) headers["Content-Type"] = "application/json";
    try {
      return await fetch(addressOf(path, query), { method, headers, body: content, signal });
    } catch (error) {
      throw isAbort(error) ? error : lost();
    }
  });
  if (!answer.ok) throw errorOf(answer.status, await answer.text().catch(() => ""));
  return answer;
}

/** Return JSON; the arguments are those of `send`. */
async function json(method, path, options) {
  const answer = await send(method, path, options);
  try {
    return await answer.json();
  } catch (error) {
    throw isAbort(error) ? error : lost();
  }
}

/**
 * Yield the server-sent events of an answer as `{event, data}`, where data is parsed JSON.
 *
 * It ends at `[DONE]` or with the answer. An event with an `error` is thrown as a ServerError, and
 * so is a connection that is lost.
 */
async function* stream(method, path, options) {
  const answer = await send(method, path, options);
  try {
    for await (const { event, data } of eventsOf(answer.body)) {
      if (data === "[DONE]") return;
      const parsed = JSON.parse(data);
      if (!event && parsed.error) throw errorOf(0, data);
      yield { event, data: parsed };
    }
  } catch (error) {
    throw isAbort(error) || error instanceof ServerError ? error : lost();
  }
}

/**
 * Send a file or a text; return the JSON of the answer. `progress(share)` is told from 0 to 1.
 *
 * `fetch` cannot tell the progress of an upload.
 */
async function upload(path, content, { query, signal, progress = () => {} } = {}) {
  const request = await withKey(
    (key) =>
      new Promise((resolve, reject) => {
        const request = new XMLHttpRequest();
        request.open("POST", addressOf(path, query));
        if (key) request.setRequestHeader("Authorization", bearer(key));
        request.upload.onprogress = (e) => e.lengthComputable && progress(e.loaded / e.total);
        request.onload = () => resolve(request);
        request.onerror = () => reject(lost());
        request.onabort = () => reject(new DOMException("stopped", "AbortError"));
        signal?.addEventListener("abort", () => request.abort());
        if (signal?.aborted) reject(new DOMException("stopped", "AbortError"));
        else request.send(content);
      }),
  );
  if (request.status >= 300) throw errorOf(request.status, request.responseText);
  return JSON.parse(request.responseText);
}

export const api = {
  get: (path, options) => json("GET", path, options),
  post: (path, body, options) => json("POST", path, { body, ...options }),
  remove: (path, options) => json("DELETE", path, options),
  /** The events of `GET path`. */
  events: (path, options) => stream("GET", path, options),
  /** The events of `POST path`. */
  stream: (path, body, options) => stream("POST", path, { body, ...options }),
  upload,
};

/** Tell whether an error is that the request was stopped by its signal. */
export function isAbort(error) {
  return error?.name === "AbortError";
}

/** Send with the known key; if the server wants another, ask for it and send again. */
async function withKey(request) {
  const key = stored(KEY);
  const answer = await request(key);
  if (answer.status !== 401) return answer;
  // Another request may have got a key while this one was on its way.
  if (stored(KEY) === key) {
    asking ??= askForKey(Boolean(key)).finally(() => (asking = null));
    const given = await asking;
    if (given === null) return answer;
    store(KEY, given);
  }
  return withKey(request);
}

/** Return the value of a header that sends a key as UTF-8; each character there is one byte. */
function bearer(key) {
  return `Bearer ${String.fromCharCode(...new TextEncoder().encode(key))}`;
}

function addressOf(path, query = {}) {
  const address = new URL(path.replace(/^\//, ""), ROOT);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null) address.searchParams.set(name, value);
  }
  return address;
}

function lost() {
  return new ServerError("The server cannot be reached. Check that it runs, then try again.");
}

function errorOf(status, body) {
  let error = {};
  try {
    error = JSON.parse(body).error ?? {};
  } catch {
    // A proxy's page, or nothing: the status must do.
  }
  const words = error.message ?? `The server answered with status ${status}.`;
  return new ServerError(sentence(words), { status, code: error.code, param: error.param });
}

function sentence(words) {
  const start = words[0].toUpperCase() + words.slice(1);
  return /[.!?…]$/.test(start) ? start : `${start}.`;
}
