// What the controls of the page do.

const ENDINGS = { length: "", stop: " to the stop text", end: " to the end of a document" };
const whole = (number) => number.toLocaleString("en");
const shownText = () => contentOf("begun") + contentOf("written");

function tell(id, text, isProblem = false) {
  element(id).textContent = text;
  element(id).classList.toggle("warn", isProblem);
}

/** Call `act` when a form is submitted, or stop what its button has begun. */
function onSubmit(form, button, act) {
  element(form).addEventListener("submit", (event) => {
    event.preventDefault();
    if (!stop(element(button))) act();
  });
}

const onClick = (id, act) => element(id).addEventListener("click", act);

// Write

function numberIn(id) {
  const number = element(id).valueAsNumber;
  return Number.isNaN(number) ? null : number;
}

/** Return the text of a field, where `\n` is a line break, `\t` a tab and `\\` a backslash. */
function unescapedIn(id) {
  return element(id).value.replace(/\\([nt\\])/g, (_, c) => ({ n: "\n", t: "\t" })[c] || c);
}

function settings() {
  const [random] = crypto.getRandomValues(new Uint32Array(1));
  return {
    prompt: element("prompt").value,
    temperature: numberIn("temperature"),
    topK: numberIn("top-k"),
    topP: numberIn("top-p"),
    minP: numberIn("min-p"),
    length: numberIn("length"),
    stop: unescapedIn("stop"),
    seed: numberIn("seed") ?? random,
  };
}

async function writeText() {
  const given = settings();
  const started = performance.now();
  tell("begun", given.prompt);
  tell("written", "");
  tell("status", "Writing…");
  try {
    const result = await begin("write", given, element("write"), showPieces);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    const done = result
      ? `${whole(result.tokens)} ${data.unit}s${ENDINGS[result.ending]}`
      : "Stopped";
    tell("status", `${done} in ${seconds} s, seed ${given.seed}`);
  } catch (error) {
    tell("status", error.message, true);
  }
}

function showPieces(pieces) {
  element("written").append(pieces.join(""));
  for (const id of ["copy", "download"]) element(id).disabled = false;
}

async function copyText() {
  try {
    await navigator.clipboard.writeText(shownText());
    tell("status", "Copied");
  } catch {
    getSelection().selectAllChildren(element("pane"));
    tell("status", "This browser does not allow it. The text is selected: copy it from there.");
  }
}

function downloadText() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([shownText()], { type: "text/plain" }));
  link.download = "text.txt";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

onSubmit("writing", "write", writeText);
onClick("copy", copyText);
onClick("download", downloadText);
for (const [id, other] of [
  ["slider", "temperature"],
  ["temperature", "slider"],
]) {
  element(id).addEventListener("input", () => (element(other).value = element(id).value));
}

// Measure

async function measureText() {
  const showShare = (shares) => tell("measured", `${Math.floor(100 * shares[shares.length - 1])}%`);
  try {
    const given = { text: element("given").value };
    const result = await begin("measure", given, element("measure"), showShare);
    tell("measured", result ? inWords(result) : "Stopped");
  } catch (error) {
    tell("measured", error.message, true);
  }
}

function inWords({ loss, perCharacter, tokens, characters, unknown }) {
  const bits = (perCharacter / Math.LN2).toFixed(3);
  const parts = [`${perCharacter.toFixed(3)} nats (${bits} bits) per character`];
  if (tokens !== characters) parts.push(`${loss.toFixed(3)} nats per token`);
  parts.push(`${whole(characters)} characters predicted`);
  if (unknown) parts.push(`${whole(unknown)} not in the vocabulary`);
  return parts.join(", ");
}

onSubmit("measuring", "measure", measureText);

// What the page tells

function addFigure(name, value) {
  const [term, description] = [document.createElement("dt"), document.createElement("dd")];
  term.textContent = name;
  description.textContent = value;
  element("figures").append(term, description);
}

document.title = data.title;
tell("title", data.title);
tell("licence", data.licence || "");
tell("unit", `${data.unit}s`);
element("temperature").value = element("slider").value = data.defaults.temperature;
element("length").value = data.defaults.length;
for (const figure of data.figures) addFigure(...figure);

load(new URLSearchParams(location.hash.slice(1)).get("engine")).then(
  (engine) => {
    addFigure("Computed by", engine);
    if (!running) tell("status", "");
  },
  (error) => tell("status", `This browser cannot run the network: ${error.message}`, true),
);
