// Figures, times and states in words.

const WHOLE = new Intl.NumberFormat("en");
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

/** Return a whole number with separators, such as 12,345. */
export const counted = (number) => WHOLE.format(number);

/** Return a large number in a few characters, such as 1.2M. */
export const short = (number) => SHORT.format(number);

/** Return a number with digits after the point, or a dash if there is none. */
export const figure = (number, digits = 3) => (number == null ? "–" : number.toFixed(digits));

/** Return a length of time, such as "3 min 20 s". */
export function duration(seconds) {
  if (seconds == null) return "–";
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (whole < 3600) return joined(minutes, "min", whole % 60, "s");
  return joined(Math.floor(minutes / 60), "h", minutes % 60, "min");
}

function joined(large, itsUnit, small, unit) {
  const start = `${counted(large)} ${itsUnit}`;
  return small ? `${start} ${small} ${unit}` : start;
}

/** Return the size of a file, such as "480 kB". */
export function size(bytes) {
  if (bytes < 1000) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** Return a moment, given in seconds since 1970, as the reader's country writes it. */
export function moment(seconds) {
  if (seconds == null) return "–";
  const date = new Date(1000 * seconds);
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday
    ? date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })
    : date.toLocaleDateString([], { day: "numeric", month: "short", year: "numeric" });
}

/** What a token is, by the level of a run. */
export const LEVELS = { char: "characters", word: "words", byte: "bytes" };

const STATES = {
  queued: "waiting for its turn",
  training: "learning",
  stopping: "being saved",
  trained: "trained",
  finished: "trained",
  stopped: "stopped",
  failed: "failed",
  prepared: "not trained yet",
};

/** Return the state of a run in words. */
export const stateName = (state) => STATES[state] ?? state ?? "";

/** Whether weights may still change in this state. */
export const isGoingOn = (state) => ["queued", "training", "stopping"].includes(state);
