// Names of new runs. A name is that of a folder on the server.

const MOST = 64; // characters
const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?$/;

/** Return a name for a run on a file of this name that none of `taken` has. */
export function proposedName(fileName, taken) {
  const name = cleaned(fileName.replace(/\.[^.]{1,5}$/, "")) || "text";
  for (let number = 1; ; number += 1) {
    const ending = number === 1 ? "" : `-${number}`;
    const proposed = cleaned(name.slice(0, MOST - ending.length)) + ending;
    if (!has(taken, proposed)) return proposed;
  }
}

/** Return what is wrong with a name, in a sentence; null if it is fine. */
export function nameProblem(name, taken) {
  if (!name) return "Give it a name.";
  if (!NAME.test(name)) {
    return (
      `A name has at most ${MOST} letters from A to Z, digits, hyphens, underscores and periods. ` +
      "It begins with a letter or digit, and does not end with a period."
    );
  }
  return has(taken, name) ? takenProblem(name) : null;
}

/** Return the sentence for a name that is in use. */
export const takenProblem = (name) => `There is a run named ${name} already. Choose another name.`;

/** Return a text without what a name cannot have: "L’été.2" becomes "L-ete.2". */
function cleaned(text) {
  return text
    .normalize("NFKD")
    .replace(/\p{Mark}/gu, "")
    .replace(/[^A-Za-z0-9._-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+|[.-]+$/g, "");
}

/** Some file systems do not tell capitals from small letters. */
function has(taken, name) {
  return taken.some((other) => other.toLowerCase() === name.toLowerCase());
}
