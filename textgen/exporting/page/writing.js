// Write a text, or measure one. Both are generators, which can be paused and dropped at any step.
// The page shows the messages of their errors.

/** Yield the pieces of a text that continues a prompt; return why it ended, and its tokens. */
function* write({ network, tokenizer, opening }, { prompt, ...options }) {
  const { ids, ahead } = readable(tokenizer, prompt, opening);
  const banned = tokenizer.unknown === null ? [] : [tokenizer.unknown];
  let ruledOut = ahead ? tokenizer.othersThan(ahead) : banned;
  let logits = null;
  network.reset();
  for (const id of ids) {
    logits = network.step(id);
    yield "";
  }
  const { length, stop } = options;
  const decode = tokenizer.decoder();
  const random = randomNumbers(options.seed);
  let held = ""; // text that may be the beginning of the stop text
  for (let tokens = 1; tokens <= length; tokens++) {
    const token = draw(weightsOf(logits, options, ruledOut), random());
    ruledOut = banned;
    if (token === tokenizer.end) {
      yield held;
      return { ending: "end", tokens };
    }
    held += tokens === 1 ? decode(token).slice(ahead.length) : decode(token);
    const place = stop ? held.indexOf(stop) : -1;
    if (place >= 0) {
      yield held.slice(0, place);
      return { ending: "stop", tokens };
    }
    const kept = tokens < length ? overhang(held, stop) : 0;
    yield held.slice(0, held.length - kept);
    held = held.slice(held.length - kept);
    if (tokens < length) logits = network.step(token);
  }
  return { ending: "length", tokens: length };
}

/** Return the ids to read before a text, and the end of the prompt that its first token repeats. */
function readable(tokenizer, prompt, opening) {
  const { ids, unknown, ahead } = tokenizer.encodePrompt(prompt);
  if (unknown.length && tokenizer.unknown === null) {
    const shown = [...new Set(unknown)].slice(0, 8).map((character) => JSON.stringify(character));
    throw new Error(`The network has never seen ${shown.join(", ")}. Remove such characters.`);
  }
  const read = ids.length ? ids : opening;
  return { ids: tokenizer.end === null ? read : [tokenizer.end, ...read], ahead };
}

/** Return the length of the longest end of a text that begins `stop`, but is not all of it. */
function overhang(text, stop) {
  let length = Math.min(text.length, stop.length - 1);
  while (length > 0 && !stop.startsWith(text.slice(-length))) length--;
  return Math.max(length, 0);
}

/** Yield how much of a text is read; return how likely it is, as analysis/evaluation.py does. */
function* measure({ network, tokenizer }, { text }) {
  let { ids, unknown } = tokenizer.encode(text);
  let characters = [...text].length;
  if (tokenizer.end !== null) ids = [tokenizer.end, ...ids, tokenizer.end];
  else if (ids.length) {
    // Nothing predicts the first token.
    const first = ids[0] === tokenizer.unknown ? unknown[0] : tokenizer.decoder()(ids[0]);
    if (ids[0] === tokenizer.unknown) unknown = unknown.slice(1);
    characters -= [...first].length || 1; // the first byte of several stands for one character
  }
  const tokens = ids.length - 1;
  if (tokens < 1 || characters < 1) throw new Error("There is nothing to predict. Give more text.");
  let loss = 0;
  network.reset();
  for (let i = 0; i < tokens; i++) {
    loss += surprisal(network.step(ids[i]), ids[i + 1]);
    yield i / tokens;
  }
  const spelling = unknown.length ? new Spelling(tokenizer.known) : null;
  const spelled = unknown.reduce((sum, token) => sum + spelling.cost(token), 0);
  const perCharacter = (loss + spelled) / characters;
  return { loss: loss / tokens, perCharacter, tokens, characters, unknown: unknown.length };
}

/** Return the negative log-probability of a token, in nats. */
function surprisal(logits, token) {
  const most = largest(logits);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
  return Math.log(total) + most - logits[token];
}
