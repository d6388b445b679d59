// The page: it gives the worker its jobs, and shows what comes back.

const element = (id) => document.getElementById(id);
const contentOf = (id) => element(id).textContent;
const whole = (number) => number.toLocaleString("en");
const data = JSON.parse(contentOf("data"));

// The worker

const source = new Blob([contentOf("worker")], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(source));
const { engine } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
const [weights, kernel] = [contentOf("weights"), contentOf("kernel")];
worker.postMessage({ kind: "load", data, weights, kernel, engine });

let job = 0; // the number of the last one
let running = null; // the job that the worker does: where its answers go

worker.onmessage = ({ data: { job: number, values, result, problem, engine } }) => {
  if (engine) return loaded(engine);
  if (number !== job || !running) return undefined; // it was stopped meanwhile
  const { show, end } = running;
  if (problem) return finish(() => end(problem));
  show(values);
  return result && finish(() => end(null, result));
};

worker.onerror = ({ message }) => {
  const problem = `This browser cannot run the network: ${message}`;
  if (running) finish(() => running.end(problem));
  else tell("status", problem, true);
};

function begin(kind, given, button, show, end) {
  stop();
  running = { show, end, button, name: button.textContent };
  button.textContent = "Stop";
  worker.postMessage({ job: ++job, kind, given });
}

function finish(report) {
  running.button.textContent = running.name;
  report();
  running = null;
}

function stop() {
  if (!running) return;
  worker.postMessage({ kind: "stop" });
  const { end } = running;
  finish(() => end(null, null));
}

function tell(id, text, isProblem = false) {
  element(id).textContent = text;
  element(id).classList.toggle("warn", isProblem);
}

// Write

const ENDINGS = { length: "", stop: " to the stop text", end: " to the end of a document" };
const unescaped = (text) =>
  text.replace(/\\([nt\\])/g, (_, c) => ({ n: "\n", t: "\t" })[c] ?? c);

function numberIn(id) {
  const number = element(id).valueAsNumber;
  return Number.isNaN(number) ? null : number;
}

function settings() {
  const numbers = { topK: "top-k", topP: "top-p", minP: "min-p" };
  for (const name of ["temperature", "length", "seed"]) numbers[name] = name;
  const given = Object.entries(numbers).map(([name, id]) => [name, numberIn(id)]);
  return { ...Object.fromEntries(given), stop: unescaped(element("stop").value) };
}

element("writing").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running?.button === element("write")) return stop();
  const given = { prompt: element("prompt").value, ...settings() };
  given.seed ??= crypto.getRandomValues(new Uint32Array(1))[0];
  tell("begun", given.prompt);
  tell("written", "");
  tell("status", "Writing…");
  const started = performance.now();
  return begin("write", given, element("write"), showText, (problem, result) => {
    if (problem) return tell("status", problem, true);
    const seconds = (performance.now() - started) / 1000;
    const count = result ? `${whole(result.tokens)} ${data.unit}s${ENDINGS[result.ending]}` : "Stopped";
    return tell("status", `${count} in ${seconds.toFixed(1)} s, seed ${given.seed}`);
  });
});

function showText(pieces) {
  const pane = element("pane");
  const follows = pane.scrollTop + pane.clientHeight > pane.scrollHeight - 40;
  element("written").append(pieces.join(""));
  if (follows) pane.scrollTop = pane.scrollHeight;
  for (const id of ["copy", "download"]) element(id).disabled = false;
}

const textShown = () => contentOf("begun") + contentOf("written");

element("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(textShown());
  tell("status", "Copied");
});

element("download").addEventListener("click", () => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([textShown()], { type: "text/plain" }));
  link.download = "text.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

element("slider").addEventListener("input", () => {
  element("temperature").value = element("slider").value;
});

element("temperature").addEventListener("input", () => {
  element("slider").value = element("temperature").value;
});

// Measure

element("measuring").addEventListener("submit", (event) => {
  event.preventDefault();
  if (running?.button === element("measure")) return stop();
  const show = (shares) => tell("measured", `${Math.floor(shares.at(-1) * 100)}%`);
  return begin("measure", { text: element("given").value }, element("measure"), show, showMeasured);
});

function showMeasured(problem, result) {
  if (!result) return tell("measured", problem ?? "Stopped", Boolean(problem));
  const { loss, perCharacter, tokens, characters, unknown } = result;
  const bits = (perCharacter / Math.LN2).toFixed(3);
  const parts = [`${perCharacter.toFixed(3)} nats (${bits} bits) per character`];
  if (tokens !== characters) parts.push(`${loss.toFixed(3)} nats per ${data.unit}`);
  parts.push(`${whole(tokens)} ${data.unit}s predicted`);
  if (unknown) parts.push(`${whole(unknown)} not in the vocabulary`);
  return tell("measured", parts.join(", "));
}

// What stands on the page from the beginning

function loaded(name) {
  addFigure("Computed by", name);
  if (!running) tell("status", "");
}

function addFigure(name, value) {
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = value;
  element("figures").append(term, description);
}

document.title = data.title;
tell("title", data.title);
tell("unit", `${data.unit}s`);
element("temperature").value = element("slider").value = data.defaults.temperature;
element("length").value = data.defaults.length;
for (const figure of data.figures) addFigure(...figure);
if (data.licence) tell("licence", data.licence);
