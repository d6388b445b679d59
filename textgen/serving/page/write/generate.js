// Ask the server for text.

import { pointsIn, unitsOf } from "./characters.js";
import { noTokens } from "./pieces.js";

/**
 * Yield a text as it is written: its next part, and `weights`, which names the weights that write
 * it. With `logprobs` in the request there are the tokens that begin in the part, too; the server
 * sends far more then. Their positions count from the start of the whole text.
 *
 * @param {object} api
 * @param {object} request `model`, `prompt`, `seed`, and options of sampling
 * @param {AbortSignal} signal
 */
export async function* generate(api, request, signal) {
  const body = { ...request, stream: true };
  let points = 0; // what was yielded, in code points
  let units = 0; // and in UTF-16
  let waiting = []; // tokens whose text has not come yet: [start in code points, score]
  for await (const { data } of api.stream("v1/completions", body, { signal })) {
    const [{ text, logprobs }] = data.choices;
    const tokens = logprobs && { starts: [], scores: [] };
    if (logprobs) {
      const toUnits = unitsOf(text);
      const [first, afterwards] = [points, points + pointsIn(text)];
      logprobs.text_offset.forEach((start, i) => waiting.push([start, logprobs.token_logprobs[i]]));
      const known = waiting.filter(([start]) => start < afterwards);
      waiting = waiting.slice(known.length);
      for (const [start, score] of known) {
        addToken(tokens, units + toUnits(Math.max(start - first, 0)), score);
      }
      points = afterwards;
    }
    units += text.length;
    yield { text, tokens, weights: data.system_fingerprint };
  }
}

/** Return several short texts that may follow a prompt, the shown one first. */
export async function suggest(api, request, count, signal) {
  const { choices } = await api.post("v1/completions", { ...request, n: count }, { signal });
  return [...new Set(choices.map(({ text }) => text))].filter((text) => text);
}

/** Return the tokens of a text with their scores. */
export async function score(api, model, text, signal) {
  const tokens = noTokens(model);
  if (!text) return tokens;
  const body = { model, prompt: text, max_tokens: 0, echo: true, logprobs: 0 };
  const { choices } = await api.post("v1/completions", body, { signal });
  const { text_offset: offsets, token_logprobs: scores } = choices[0].logprobs;
  const toUnits = unitsOf(text);
  offsets.forEach((offset, i) => addToken(tokens, toUnits(offset), scores[i]));
  tokens.ends = [...tokens.starts.slice(1), text.length];
  return tokens;
}

/** Add a token to others. The bytes of a character begin at one place, and are one token here. */
function addToken({ starts, scores }, start, score) {
  const last = starts.length - 1;
  if (starts[last] !== start) {
    starts.push(start);
    scores.push(score);
  } else if (scores[last] !== null) scores[last] += score;
}

/**
 * Return the tokens that most likely follow a text, the likeliest first, as `{name, probability}`.
 */
export async function likeliest(api, model, prompt, signal) {
  const body = { model, prompt, max_tokens: 1, temperature: 0, logprobs: 10 };
  const { choices } = await api.post("v1/completions", body, { signal });
  return Object.entries(choices[0].logprobs.top_logprobs[0])
    .filter(([name]) => name) // else it is a space, which the prompt has already
    .map(([name, score]) => ({ name, probability: Math.exp(score) }))
    .sort((a, b) => b.probability - a.probability)
    .slice(0, 10);
}
