// The text in blocks. Each is plain text until it comes near the window, and spans then.

const FEWEST = 1000;
const MOST = 4000; // tokens of a block whose paragraph does not end before
const PRINTED = 20000;
const GUESSES = 5;

class Blocks {
  #blocks = [];
  #colouring = null;
  #guesses = false;
  #marked = null;
  #observer;
  #width = 0;

  constructor(container) {
    this.container = container;
    let lines = null; // several blocks share them where a line does not end
    for (const [first, stop] of cutIntoBlocks()) {
      const isDocument = first > 0 && data.documents.includes(first);
      if (!lines || isDocument || tokenText(first - 1).endsWith("\n")) {
        lines = make("div", { className: isDocument ? "lines document" : "lines", dir: "auto" });
        container.append(lines);
      }
      const element = make("span", { className: "block" });
      lines.append(element);
      this.#blocks.push({ element, first, stop, spans: null, near: false });
    }
    for (const block of this.#blocks) this.#strip(block);
    const byElement = new Map(this.#blocks.map((block) => [block.element, block]));
    this.#observer = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const block = byElement.get(target);
          block.near = isIntersecting;
          if (!isIntersecting) this.#strip(block);
          else if (!block.spans) this.#build(block);
        }
      },
      { rootMargin: "100% 0px" },
    );
    new ResizeObserver(([{ contentRect }]) => {
      if (this.#width !== contentRect.width) this.#forgetHeights();
      this.#width = contentRect.width;
    }).observe(container);
  }

  /** Colour the text. */
  show(colouring, choice) {
    if (choice.guesses !== this.#guesses) this.#forgetHeights();
    this.#colouring = colouring;
    this.#guesses = choice.guesses;
    this.container.className = `by-${choice.colour}${choice.guesses ? " guesses" : ""}`;
    for (const block of this.#blocks) {
      if (block.near) this.#build(block);
      else this.#strip(block);
      this.#observer.observe(block.element);
    }
  }

  /** The span of a token, which is built if it is not there. */
  spanOf(t) {
    const block = this.#blockOf(t);
    if (!block.spans) this.#build(block);
    return block.spans[t - block.first];
  }

  /** Mark a token instead of another; null marks none. */
  mark(token) {
    for (const [t, marked] of [
      [this.#marked, false],
      [token, true],
    ]) {
      if (t === null) continue;
      const block = this.#blockOf(t);
      block.spans?.[t - block.first].classList.toggle("cursor", marked);
    }
    this.#marked = token;
  }

  /** Build the blocks to print, and return the number of tokens in them. */
  prepareToPrint() {
    let stop = 0;
    for (const block of this.#blocks) {
      const printed = block.first < PRINTED;
      block.element.classList.toggle("beyond", !printed);
      if (printed) stop = block.stop;
      if (printed && !block.spans) this.#build(block);
    }
    return stop;
  }

  endPrinting() {
    for (const block of this.#blocks) if (!block.near) this.#strip(block);
  }

  #blockOf(t) {
    return this.#blocks.findLast(({ first }) => first <= t);
  }

  #build(block) {
    const fragment = document.createDocumentFragment();
    block.spans = [];
    for (let t = block.first; t < block.stop; t++) {
      const span = this.#makeSpan(t);
      const text = tokenText(t);
      const breaks = this.#guesses && text.includes("\n");
      const breaksAfter = /\n\s*$/u.test(text);
      block.spans.push(span);
      if (breaks && !breaksAfter) fragment.append(make("br"));
      fragment.append(span);
      if (breaks && breaksAfter) fragment.append(make("br"));
    }
    block.element.replaceChildren(fragment);
    block.element.style.minHeight = "";
  }

  #makeSpan(t) {
    const text = tokenText(t);
    const { name, style, marked } = this.#colouring.paint(t);
    const span = document.createElement("span");
    span.token = t;
    span.className = `token ${name}${t === this.#marked ? " cursor" : ""}`;
    let css = style;
    // A mark within an emoji, or between letters of Arabic, would part what belongs together.
    const mark = this.#guesses || /^\p{Cc}*$/u.test(text) ? marksOf(text) : "";
    if (mark.includes("↵")) span.classList.add("line-break");
    if (mark) span.dataset.mark = mark;
    if (marked || this.#guesses) span.classList.add("marked");
    if (!this.#guesses) span.textContent = text;
    else {
      span.textContent = text.replaceAll("\n", "");
      if (!text) span.dataset.mark = "·";
      const guesses = guessesFor(t).slice(0, GUESSES);
      span.dataset.guesses = Array.from({ length: GUESSES }, (_, i) =>
        guesses[i] ? seen(guesses[i].text) : "\u00a0",
      ).join("\n");
      guesses.forEach(({ probability }, i) => (css += `;--p${i}:${probability * 100}`));
    }
    if (css) span.style.cssText = css;
    return span;
  }

  /** Put plain text for spans; the block keeps its height. */
  #strip(block) {
    if (block.spans) block.element.style.minHeight = `${block.element.offsetHeight}px`;
    else if (block.element.firstChild) return;
    block.spans = null;
    block.element.replaceChildren(data.text.slice(starts[block.first], starts[block.stop]));
  }

  #forgetHeights() {
    for (const { element } of this.#blocks) element.style.minHeight = "";
  }
}

/** Yield [first, stop) of blocks that end with a document, or else a line if it ends soon. */
function* cutIntoBlocks() {
  const ends = [...data.documents.slice(1), tokenCount];
  let first = 0;
  for (const end of ends) {
    while (first < end) {
      let stop = Math.min(first + FEWEST, end);
      while (stop < Math.min(first + MOST, end) && !tokenText(stop - 1).endsWith("\n")) stop++;
      let space = stop;
      if (stop < end && !tokenText(stop - 1).endsWith("\n")) {
        while (space > first + FEWEST && !/\s$/.test(tokenText(space - 1))) space--;
        if (space > first + FEWEST) stop = space;
      }
      yield [first, stop];
      first = stop;
    }
  }
}
