// Which token the card shows: the one at the pointer, or the one chosen by a click or a key.

class Cursor {
  #blocks;
  #show;
  #token = null;
  #chosen = false;

  /** `show(token, byKey)` is called with each token; with null when there is none. */
  constructor(blocks, show) {
    this.#blocks = blocks;
    this.#show = show;
    const { container } = blocks;
    container.addEventListener("pointerover", (event) => {
      const t = event.target.token;
      if (event.pointerType === "mouse" && t !== undefined && !this.#chosen) this.#go(t);
    });
    container.addEventListener("click", (event) => {
      if (event.target.token === undefined) return;
      this.#chosen = !this.#chosen || this.#token !== event.target.token;
      this.#go(event.target.token);
    });
    container.addEventListener("keydown", (event) => this.#press(event));
  }

  /** Choose a token, and bring it into the window. */
  choose(t, byKey = false) {
    this.#chosen = true;
    this.#go(t, byKey);
    this.#blocks.spanOf(t).scrollIntoView({ block: byKey ? "nearest" : "center" });
  }

  leave() {
    this.#chosen = false;
    this.#go(null);
  }

  /** Show the same token again, when what is shown of it has changed. */
  refresh() {
    if (this.#token !== null) this.#show(this.#token, false);
  }

  #go(t, byKey = false) {
    this.#token = t;
    this.#blocks.mark(t);
    this.#show(t, byKey);
  }

  #press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") return this.leave();
    const t = this.#token ?? -1;
    const next = {
      ArrowRight: () => t + 1,
      ArrowLeft: () => t - 1,
      ArrowDown: () => this.#inLine(t, 1),
      ArrowUp: () => this.#inLine(t, -1),
      Home: () => 0,
      End: () => tokenCount - 1,
    }[event.key];
    if (!next) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(next(), tokenCount - 1)), true);
  }

  /** The token above (-1) or below (1) a token. */
  #inLine(t, way) {
    if (t < 0) return 0;
    const rect = (other) => this.#blocks.spanOf(other).getBoundingClientRect();
    const { left, top, bottom } = rect(t);
    const height = bottom - top;
    let [best, distance, line] = [t, Infinity, null];
    for (let other = t + way; other >= 0 && other < tokenCount; other += way) {
      const here = rect(other);
      if (Math.abs(here.top - top) < height / 2) continue;
      line ??= here.top;
      if (Math.abs(here.top - line) > height / 2) break;
      const far = Math.abs(here.left - left);
      if (far < distance) [best, distance] = [other, far];
    }
    return best;
  }
}
