// The jobs of the worker, one at a time. Each is begun and stopped by a button.

const element = (id) => document.getElementById(id);
const contentOf = (id) => element(id).textContent;
const data = JSON.parse(contentOf("data"));

// A worker of its own file could not be read from disk, nor be mailed.
const source = new Blob([contentOf("worker")], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(source));
let running = null; // what to do with the answers to the last job
let jobs = 0;

/**
 * Begin a job. `show` is called with what it yields. Return its result, or null if it is stopped;
 * throw its problem.
 */
function begin(kind, given, button, show) {
  stop();
  const name = button.textContent;
  button.textContent = "Stop";
  button.formNoValidate = true; // a field may be empty meanwhile
  const job = ++jobs;
  worker.postMessage({ job, kind, given });
  const promise = new Promise((resolve, reject) => {
    running = { job, button, show, resolve, reject };
  });
  return promise.finally(() => {
    button.textContent = name;
    button.formNoValidate = false;
  });
}

/** Stop the job of a button, or any; return whether there was one. */
function stop(button = running && running.button) {
  if (!running || running.button !== button) return false;
  worker.postMessage({ kind: "stop" });
  end(null);
  return true;
}

function end(result, problem) {
  const { resolve, reject } = running;
  running = null;
  if (problem) reject(new Error(problem));
  else resolve(result);
}

/** Load the network; return what computes it. `engine` "javascript" chooses that. */
function load(engine) {
  const [weights, kernel] = [contentOf("weights"), contentOf("kernel")];
  worker.postMessage({ kind: "load", data, weights, kernel, engine });
  return new Promise((resolve, reject) => {
    worker.onerror = ({ message }) => {
      reject(new Error(message));
      stop();
    };
    worker.onmessage = ({ data: { engine, job, values, result, problem } }) => {
      if (engine) resolve(engine);
      if (!running || job !== running.job) return; // it was stopped meanwhile
      if (values) running.show(values);
      if (result || problem) end(result, problem);
    };
  });
}
