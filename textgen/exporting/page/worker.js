// The worker has the network, and does one job at a time: the last that it was given.

"use strict";

const SLICE = 16; // milliseconds between two reports
const JOBS = { write, measure };
const { port1, port2 } = new MessageChannel();
let model = null;
let current = null; // the number of the job

/** Let the messages in that wait. */
function pause() {
  return new Promise((resume) => {
    port1.onmessage = resume;
    port2.postMessage(null);
  });
}

function load({ data, weights, kernel, engine }) {
  const { architecture, arrays, bits, tokenizer, opening } = data;
  const stored = new Weights(bytesOf(weights), arrays, bits);
  const network = makeNetwork(engine, bytesOf(kernel), architecture, stored);
  const { level, vocabulary, documents } = tokenizer;
  model = { network, tokenizer: new TOKENIZERS[level](vocabulary, documents), opening };
  postMessage({ engine: network instanceof KernelNetwork ? "WebAssembly" : "JavaScript" });
}

/** Return the fastest network that works here; `engine` "javascript" asks for the other. */
function makeNetwork(engine, kernel, architecture, weights) {
  if (engine !== "javascript") {
    try {
      return new KernelNetwork(kernel, architecture, weights);
    } catch (error) {
      console.info(`the kernel cannot run: ${error.message}`);
    }
  }
  return new PlainNetwork(architecture, weights);
}

async function work({ job, kind, given }) {
  current = job;
  let values = []; // yielded since the last report
  let reported = performance.now();
  try {
    const steps = JOBS[kind](model, given);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return postMessage({ job, values, result: value });
      values.push(value);
      if (performance.now() - reported < SLICE) continue;
      postMessage({ job, values });
      await pause();
      if (job !== current) return undefined;
      values = [];
      reported = performance.now();
    }
  } catch (error) {
    return postMessage({ job, problem: error.message });
  }
}

onmessage = ({ data: message }) => {
  if (message.kind === "load") load(message);
  else if (message.kind === "stop") current = null;
  else work(message);
};
