// Begin: a text, a few choices, and a training starts.

import { html, useEffect, useRef, useState } from "../vendor/htm-preact.module.js";
import { isAbort } from "../api.js";
import { nameProblem, proposedName, takenProblem } from "./names.js";
import { ENCODINGS, lookAt } from "./texts.js";
import { counted, isGoingOn, size } from "./words.js";

const MINUTES = ["1", "5", "15", "60"];
const LEVELS = [
  ["char", "Characters", "It learns to spell, too. For most texts."],
  ["word", "Words", "For more than about 1 MB of text."],
  ["byte", "Bytes", "For texts in many scripts. It can go on from any beginning."],
];
const SHORT = 3000; // characters; less gives poor texts
const FIELDS = ["text", "name", "minutes"]; // of the form that can be wrong

/**
 * A text to train on.
 * @typedef {object} Source
 * @property {string} title the name of the file, or the first words of what was pasted
 * @property {Blob} blob
 * @property {string | undefined} encoding as the server knows it; undefined for UTF-8
 * @property {import("./texts.js").Look | null} look null until the text is read
 */

/**
 * @param {object} props
 * @param {object[]} props.runs
 * @param {{ name: string, error: string } | null} props.failure
 *     of a training begun here that left nothing
 * @param {(name: string) => void} props.onBegun
 */
export function Begin({ api, runs, failure, onBegun }) {
  const [isOpen, open] = useState(true);
  const [source, setSource] = useState(null);
  const [isPasting, paste] = useState(false);
  const [ownName, setName] = useState(null); // null until the user writes one
  const [minutes, setMinutes] = useState("5");
  const [level, setLevel] = useState("char");
  const [problems, setProblems] = useState({});
  const [sent, setSent] = useState(null); // the share of the text that has been sent
  const stopper = useRef(null);
  const form = useRef(null);

  const taken = runs.filter(isInUse).map((run) => run.name);
  const name = ownName ?? (source ? proposedName(source.title, taken) : "");

  const complain = (found) => {
    setProblems(found);
    const first = FIELDS.find((field) => found[field]);
    // The field is there after the next rendering.
    if (first) setTimeout(() => form.current?.querySelector(`[data-field=${first}]`)?.focus());
  };
  const take = async (blob, title, encoding, isPasted = false) => {
    if (!isOpen) setName(null);
    open(true);
    paste(isPasted);
    setProblems({});
    stopper.current?.abort();
    const { signal } = (stopper.current = new AbortController());
    const taking = { title, blob, encoding: encoding?.name };
    setSource({ ...taking, look: null });
    try {
      setSource({ ...taking, look: await lookAt(blob, encoding?.label, signal) });
    } catch (error) {
      if (signal.aborted) return;
      setSource(null);
      complain({ text: "This file cannot be read. Choose it again." });
    }
  };
  useGiven(sent === null, take);
  useEffect(() => {
    if (!failure) return;
    open(true);
    complain({ text: plainFailure(failure) });
  }, [failure]);

  const begin = async (event) => {
    event.preventDefault();
    const asked = { name, minutes, level, encoding: source?.encoding };
    const wrong = wrongFields(source, asked, taken);
    complain(wrong);
    if (Object.keys(wrong).length) return;
    const { signal } = (stopper.current = new AbortController());
    setSent(0);
    try {
      await api.upload("v1/runs", source.blob, { query: asked, signal, progress: setSent });
    } catch (error) {
      if (!isAbort(error)) complain(plainProblem(error, asked));
      return;
    } finally {
      setSent(null);
    }
    open(false);
    onBegun(asked.name);
  };
  const another = () => {
    setSource(null);
    setName(null);
    paste(false);
    complain({});
    open(true);
  };

  if (!isOpen) {
    return html`<p class="begin">
      <button type="button" onClick=${another}>Train on another text</button>
    </p>`;
  }
  return html`
    <section class="begin" aria-labelledby="begin">
      <h2 id="begin">Train on a text of yours</h2>
      <form ref=${form} onSubmit=${begin} novalidate>
        <fieldset class="bare" disabled=${sent !== null}>
          <${TextField}
            source=${source}
            problem=${problems.text}
            isPasting=${isPasting}
            onPaste=${() => paste(!isPasting)}
            onTake=${take}
          />
          ${source &&
          html`
            <${MinutesField} value=${minutes} onChoose=${setMinutes} problem=${problems.minutes} />
            <${LevelField} value=${level} onChoose=${setLevel} />
            <${NameField} value=${name} onInput=${setName} problem=${problems.name} />
            <p class="hint">${expectation(source, minutes, runs)}</p>
          `}
        </fieldset>
        <p class="warn" role="alert">${problems.form}</p>
        ${sent === null
          ? source && html`<button type="submit" class="main">Begin</button>`
          : html`<${Sending} share=${sent} onCancel=${() => stopper.current.abort()} />`}
      </form>
    </section>
  `;
}

/** Whether the server refuses a new run of this name. A training that failed may leave nothing. */
const isInUse = ({ state, saved }) => state !== "failed" || saved != null;

/** Take texts that are dropped on the page, or pasted where there is no field. */
function useGiven(isOn, take) {
  const taking = useRef(take);
  taking.current = take;
  useEffect(() => {
    const given = (event, { files, text }) => {
      event.preventDefault(); // or the browser would leave the page to show the file
      if (!isOn) return;
      if (files.length) taking.current(files[0], files[0].name);
      else if (text) taking.current(new Blob([text]), firstWords(text));
    };
    const contents = (transfer) => ({ files: transfer.files, text: transfer.getData("text") });
    const listeners = {
      dragover: (event) => event.preventDefault(),
      drop: (event) => given(event, contents(event.dataTransfer)),
      paste: (event) => {
        if (!event.target.closest?.("input, textarea")) given(event, contents(event.clipboardData));
      },
    };
    for (const [name, listen] of Object.entries(listeners)) addEventListener(name, listen);
    return () => {
      for (const [name, listen] of Object.entries(listeners)) removeEventListener(name, listen);
    };
  }, [isOn]);
}

const firstWords = (text) => text.slice(0, 200).trim().split(/\s+/).slice(0, 4).join(" ");

function TextField({ source, problem, isPasting, onPaste, onTake }) {
  const chooser = useRef(null);
  const choose = ({ currentTarget }) => {
    const [file] = currentTarget.files;
    if (file) onTake(file, file.name);
    currentTarget.value = ""; // the same file may be chosen again
  };
  const typed = ({ currentTarget: { value } }) => {
    onTake(new Blob([value]), firstWords(value), undefined, true);
  };
  return html`
    <div class="drop" role="group" aria-label="Text" aria-describedby="text-problem">
      ${source
        ? html`<${Shown} source=${source} isPasted=${isPasting} onTake=${onTake} />`
        : html`<p>Drop a text file here.</p>`}
      <p class="buttons">
        <button type="button" data-field="text" onClick=${() => chooser.current.click()}>
          ${source ? "Choose another file" : "Choose a file"}
        </button>
        <button type="button" aria-expanded=${isPasting} onClick=${onPaste}>
          Paste a text
        </button>
      </p>
      <input ref=${chooser} type="file" hidden aria-label="Text file" onChange=${choose} />
      ${isPasting &&
      html`
        <textarea rows="8" dir="auto" aria-label="Pasted text" onInput=${typed}></textarea>
      `}
      <p id="text-problem" class="warn" role="alert">${problem}</p>
    </div>
  `;
}

/** What is known of the text, with the choice of its encoding if it needs one. */
function Shown({ source, isPasted, onTake }) {
  const { title, blob, encoding, look } = source;
  const length = look?.characters ? `${counted(look.characters)} characters` : size(blob.size);
  const choose = ({ currentTarget: { value } }) => {
    onTake(blob, title, ENCODINGS.find(({ name }) => name === value));
  };
  return html`
    <p><b>${title}</b>, ${length}</p>
    ${(encoding || look?.kind === "encoded") &&
    html`
      <p>
        <label for="encoding">This text is not in UTF-8. Choose how it can be read: </label>
        <select id="encoding" onChange=${choose}>
          <option value="" selected=${!encoding}>…</option>
          ${ENCODINGS.map(
            ({ name, title }) =>
              html`<option value=${name} selected=${name === encoding}>${title}</option>`,
          )}
        </select>
      </p>
    `}
    ${look?.excerpt && !isPasted && html`<blockquote dir="auto">${look.excerpt}</blockquote>`}
  `;
}

function MinutesField({ value, onChoose, problem }) {
  const [isOwn, takeOwn] = useState(!MINUTES.includes(value));
  const radio = (label, checked, choose) => html`
    <label>
      <input type="radio" name="minutes" checked=${checked} onChange=${choose} />
      ${label}
    </label>
  `;
  const choose = (minutes) => {
    takeOwn(false);
    onChoose(minutes);
  };
  return html`
    <fieldset class="choices">
      <legend>Minutes to learn</legend>
      ${MINUTES.map((minutes) =>
        radio(minutes, !isOwn && value === minutes, () => choose(minutes)),
      )}
      ${radio("another number", isOwn, () => takeOwn(true))}
      ${isOwn &&
      html`
        <input
          type="number"
          class="short"
          min="0.1"
          step="any"
          aria-label="Minutes"
          data-field="minutes"
          value=${value}
          aria-invalid=${Boolean(problem)}
          aria-describedby="minutes-problem"
          onInput=${(event) => onChoose(event.currentTarget.value)}
        />
      `}
      <p id="minutes-problem" class="warn" role="alert">${problem}</p>
    </fieldset>
  `;
}

function LevelField({ value, onChoose }) {
  return html`
    <fieldset class="choices">
      <legend>What it reads and writes, one at a time</legend>
      ${LEVELS.map(
        ([level, title]) => html`
          <label>
            <input
              type="radio"
              name="level"
              checked=${value === level}
              onChange=${() => onChoose(level)}
            />
            ${title}
          </label>
        `,
      )}
      <p class="hint">${LEVELS.find(([level]) => level === value)[2]}</p>
    </fieldset>
  `;
}

function NameField({ value, onInput, problem }) {
  return html`
    <p>
      <label for="name">Name of the run</label>
      <input
        id="name"
        data-field="name"
        autocomplete="off"
        spellcheck=${false}
        maxlength="64"
        value=${value}
        aria-invalid=${Boolean(problem)}
        aria-describedby="name-problem"
        onInput=${(event) => onInput(event.currentTarget.value)}
      />
      <span id="name-problem" class="warn" role="alert">${problem}</span>
    </p>
  `;
}

function Sending({ share, onCancel }) {
  return html`
    <p class="buttons">
      <progress aria-label="Sending the text" max="1" value=${share}></progress>
      <span>${share < 1 ? `${Math.round(100 * share)} % sent` : "Sent; it is being stored"}</span>
      <button type="button" onClick=${onCancel}>Cancel</button>
    </p>
  `;
}

/** Return what a training will take, in sentences. */
function expectation({ blob, look }, minutes, runs) {
  const waits = runs.filter(({ state }) => isGoingOn(state)).map(({ name }) => name);
  const time = Number(minutes) === 1 ? "a minute" : `${minutes > 0 ? minutes : "some"} minutes`;
  return [
    `It learns for ${time} at most, after some seconds of preparation.`,
    waits.length ? `It waits for ${waits.join(", ")} first.` : "",
    look?.characters && look.characters < SHORT
      ? "This text is short; it will not learn much. Some hundred thousand characters are good."
      : "",
    `The text (${size(blob.size)}) is sent to the server and kept there with the run.`,
    "You can stop it whenever it is good enough, and close this page meanwhile.",
  ].join(" ");
}

/** Return what is wrong in each field, in sentences. */
function wrongFields(source, { name, minutes }, taken) {
  const wrong = {
    text: textProblem(source),
    name: nameProblem(name, taken),
    minutes: Number(minutes) > 0 ? null : "Give a number of minutes above 0.",
  };
  return Object.fromEntries(Object.entries(wrong).filter(([, problem]) => problem));
}

function textProblem(source) {
  if (!source || !source.blob.size) return "Give a text: drop a file, choose one, or paste it.";
  if (!source.look) return "The text is still being read. Try again in a moment.";
  const problems = {
    text: null,
    binary: "This file is not plain text. Save it as text (.txt) in its program, and give that.",
    encoded: source.encoding
      ? "The text cannot be read in this encoding. Choose another."
      : "The text is not in UTF-8. Choose how it can be read.",
  };
  return problems[source.look.kind];
}

/** Return where the server's refusal belongs in the form, and its words. */
function plainProblem(error, { name }) {
  if (error.code === "run_exists") return { name: takenProblem(name) };
  if (error.code === "queue_full") {
    return { form: "The server has too many trainings to do. Try again in some minutes." };
  }
  if (error.status === 413) return { text: error.message };
  return FIELDS.includes(error.param) ? { [error.param]: error.message } : { form: error.message };
}

/** Return why a training failed at its start, for a person who knows no command line. */
function plainFailure({ name, error }) {
  return /too short|too few to validate|is empty/.test(error)
    ? `The text of ${name} is too short to learn from. Some thousand characters can do.`
    : `The training of ${name} did not start: ${error}.`;
}
