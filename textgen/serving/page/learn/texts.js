// Look at a text before it is sent: whether it is text, how long it is, and how it begins.

const EXCERPT = 400; // characters

// As the server knows them, and as browsers do. UTF-8 is tried first.
export const ENCODINGS = [
  ["Western European", "cp1252", "windows-1252"],
  ["Central European", "cp1250", "windows-1250"],
  ["Cyrillic", "cp1251", "windows-1251"],
  ["Cyrillic (KOI8)", "koi8-r", "koi8-r"],
  ["Greek", "cp1253", "windows-1253"],
  ["Turkish", "cp1254", "windows-1254"],
  ["Hebrew", "cp1255", "windows-1255"],
  ["Arabic", "cp1256", "windows-1256"],
  ["Chinese (GB 18030)", "gb18030", "gb18030"],
  ["Chinese (Big5)", "big5hkscs", "big5"],
  ["Japanese (Shift JIS)", "cp932", "shift_jis"],
  ["Korean", "cp949", "euc-kr"],
].map(([title, name, label]) => ({ title, name, label }));

/**
 * @typedef {object} Look
 * @property {"text" | "binary" | "encoded"} kind
 *     "encoded" is text in another encoding than UTF-8, or what is no text in the one given
 * @property {number} characters
 * @property {string} excerpt the beginning
 */

/**
 * Read a text to its end.
 * @param {Blob} blob
 * @param {string | undefined} label the encoding, as browsers know it
 * @param {AbortSignal} signal
 * @returns {Promise<Look>}
 */
export async function lookAt(blob, label, signal) {
  const start = new Uint8Array(await blob.slice(0, 4).arrayBuffer());
  const decoder = new TextDecoder(label ?? markedEncoding(start), { fatal: true });
  const found = { kind: "text", characters: 0, excerpt: "" };
  const take = (text) => {
    if (text.includes("\0")) found.kind = "binary";
    found.characters += text.length;
    if (found.excerpt.length < EXCERPT) {
      found.excerpt = (found.excerpt + text).slice(0, EXCERPT).trimStart();
    }
  };
  const reader = blob.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal.throwIfAborted();
      take(done ? decoder.decode() : decoder.decode(value, { stream: true }));
      if (done || found.kind === "binary") return found;
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const isBinary = label === undefined && (await hasNul(blob));
    return { kind: isBinary ? "binary" : "encoded", characters: 0, excerpt: "" };
  } finally {
    reader.cancel().catch(() => {}); // the file may have changed on the disk
  }
}

/** Return the encoding that a byte-order mark tells. */
function markedEncoding([first, second]) {
  if (first === 0xff && second === 0xfe) return "utf-16le";
  return first === 0xfe && second === 0xff ? "utf-16be" : "utf-8";
}

/** Whether there is a NUL near the beginning: documents, images and archives have some. */
async function hasNul(blob) {
  return new Uint8Array(await blob.slice(0, 4096).arrayBuffer()).includes(0);
}
