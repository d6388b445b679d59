// The data of the page.

const data = JSON.parse(document.getElementById("data").textContent);

const ARRAYS = {
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  int8: Int8Array,
  float32: Float32Array,
};
const unpacked = new WeakMap();

/** Unpack an array once: the bytes are compressed by zlib, and written in base64. */
function unpack(packed) {
  if (!unpacked.has(packed)) unpacked.set(packed, decompress(packed));
  return unpacked.get(packed);
}

async function decompress({ type, data }) {
  const text = atob(data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new ARRAYS[type](await new Response(stream).arrayBuffer());
}

const [lengths, hundredths, ranks, guessed, chances] = await Promise.all(
  [data.lengths, data.bits, data.ranks, data.guesses.tokens, data.guesses.probabilities].map(
    unpack,
  ),
);
const tokenCount = lengths.length;

// Where each token begins in the text, and where the last one ends.
const starts = new Uint32Array(tokenCount + 1);
for (let t = 0; t < tokenCount; t++) starts[t + 1] = starts[t] + lengths[t];

const tokenText = (t) => data.text.slice(starts[t], starts[t + 1]);

/** The surprisal of a token in bits; null for one that was not predicted. */
const bitsOf = (t) => (hundredths[t] === 65535 ? null : hundredths[t] / 100);

/** The token that holds a place of the text. */
function tokenAt(place) {
  let low = 0;
  let high = tokenCount - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (starts[middle] <= place) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The guesses for a token, the likeliest first: [{ text, probability }]. */
function guessesFor(t) {
  const { count } = data.guesses;
  return Array.from({ length: count }, (_, i) => ({
    text: data.vocabulary[guessed[t * count + i]],
    probability: chances[t * count + i] / 65535,
  })).filter(({ probability }) => probability > 0);
}
