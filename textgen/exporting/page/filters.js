// Filters and the draw of a token, in the order and with the rules of textgen/sampling/filters.py.
// A token that is ruled out has the logit -Infinity. Of equal tokens, the lower ids come first.

/** Return the weights of the tokens, in proportion to which one is drawn; the largest is 1. */
function weightsOf(logits, { temperature, topK, topP, minP }, banned) {
  let left = Float64Array.from(logits);
  for (const token of banned) left[token] = -Infinity;
  left = atTemperature(left, temperature);
  if (topK !== null) left = keepTopK(left, topK);
  if (topP !== null) left = keepTopP(left, topP);
  if (minP !== null) left = left.map((logit) => (Math.exp(logit) >= minP ? logit : -Infinity));
  return left.map(Math.exp);
}

const largest = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);
const sumOf = (numbers) => numbers.reduce((a, b) => a + b, 0);
const descending = (numbers) => numbers.slice().sort().reverse();

/** Make the largest logit 0, and divide by the temperature. At 0, keep the likeliest token. */
function atTemperature(logits, temperature) {
  const most = largest(logits);
  const relative = logits.map((logit) => logit - most);
  if (temperature === 0) return keep(relative, 0, 1);
  return relative.map((logit) => logit / Math.max(temperature, 1e-300));
}

function keepTopK(logits, k) {
  return k < logits.length ? keep(logits, descending(logits)[k - 1], k) : logits;
}

/** Keep the fewest of the likeliest tokens whose probabilities add up to p or more. */
function keepTopP(logits, p) {
  const ordered = descending(logits);
  const exponentials = ordered.map((logit) => Math.exp(logit - ordered[0]));
  const total = sumOf(exponentials);
  let count = 0;
  for (let reached = 0; reached < p && count < ordered.length; count++) {
    reached += exponentials[count] / total;
  }
  return keep(logits, ordered[count - 1], count);
}

/** Keep `count` logits: those above a threshold, and the first of those equal to it. */
function keep(logits, threshold, count) {
  let room = count - logits.filter((logit) => logit > threshold).length;
  return logits.map((logit) =>
    logit > threshold || (logit === threshold && room-- > 0) ? logit : -Infinity,
  );
}

/** Return an index, drawn in proportion to the weights by a random number from 0 to below 1. */
function draw(weights, number) {
  let sum = 0;
  const cumulative = weights.map((weight) => (sum += weight));
  const point = number * (1 - 2 ** -52) * sum;
  return cumulative.findIndex((reached) => reached > point);
}

/** Return a function that returns random numbers from 0 to below 1, by the generator sfc32. */
function randomNumbers(seed) {
  let [a, b, c, counter] = [0, seed, 0, 1];
  function next() {
    const result = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + result) | 0;
    return result >>> 0;
  }
  for (let i = 0; i < 12; i++) next(); // mix the seed
  return () => (next() * 2 ** 21 + (next() >>> 11)) / 2 ** 53;
}
