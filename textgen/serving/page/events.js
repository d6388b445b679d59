// Server-sent events: split a stream of bytes into events.

/**
 * Yield `{event, data}` for each event in a stream of bytes; a name may be "".
 *
 * EventSource cannot send a key or a body, so the page reads events from `fetch`.
 *
 * @param {ReadableStream<Uint8Array>} stream
 */
export async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      yield* parts.map(eventOf);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function eventOf(part) {
  const found = { event: "", data: "" };
  for (const line of part.split("\n")) {
    if (line.startsWith("event: ")) found.event = line.slice(7);
    if (line.startsWith("data: ")) found.data += line.slice(6);
  }
  return found;
}
