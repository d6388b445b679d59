// Which passage a token is in: one that is copied, one of an author.

/** A function that returns the number of the passage that a token is in, or -1. */
function passageFinder(passages) {
  const numbers = new Int32Array(tokenCount).fill(-1);
  passages.forEach(({ start, length }, number) => {
    for (let t = tokenAt(start); t < tokenCount && starts[t] < start + length; t++) {
      if (starts[t] >= start) numbers[t] = number;
    }
  });
  return (t) => numbers[t];
}

const copiedAt = passageFinder(data.novelty?.passages ?? []);
const authoredAt = passageFinder(data.authors?.passages ?? []);

const textOf = ({ start, length }) => data.text.slice(start, start + length);
const likeliest = (probabilities) => probabilities.indexOf(Math.max(...probabilities));
