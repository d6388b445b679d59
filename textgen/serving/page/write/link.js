// Links that give the same text again, and downloads.

const LONGEST = 20_000; // characters of a link; more do not pass through every program

/**
 * Return the address that writes a text again, or null if its prompt is too long for one.
 *
 * @param {object} made the request that wrote it, and `weights`
 * @param {string} prompt
 */
export function linkTo({ model, seed, weights, ...settings }, prompt) {
  const query = new URLSearchParams({ prompt, model, seed, settings: JSON.stringify(settings) });
  if (weights) query.set("weights", weights);
  const link = new URL(location.href);
  link.hash = `write?${query}`;
  return link.href.length <= LONGEST ? link.href : null;
}

/**
 * Return what a link asks for, `{prompt, model, seed, weights, values}`, or null if it is none.
 *
 * The values of options are as the link has them; `Settings.valid` checks them.
 *
 * @param {URLSearchParams} query
 */
export function readLink(query) {
  if (!query.has("prompt")) return null;
  let values = {};
  try {
    values = Object(JSON.parse(query.get("settings")));
  } catch {
    // The link is damaged; the defaults must do.
  }
  return {
    prompt: query.get("prompt"),
    model: query.get("model"),
    seed: /^\d{1,15}$/.test(query.get("seed")) ? Number(query.get("seed")) : null,
    weights: query.get("weights"),
    values,
  };
}

/** Let the browser save a text as a file. */
export function download(text, title) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  const name = title.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 40);
  link.download = `${name || "text"}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
