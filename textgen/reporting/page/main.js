// Put the page together.

const element = (id) => document.getElementById(id);
const blocks = new Blocks(element("text"));
const card = element("card");
const beside = element("beside");
let choice = readChoice();
let values = null; // of the unit that is shown

const figuresShown = () => document.body.classList.contains("figures");

/** Show the figures in place of the text on a narrow screen; the text keeps its place. */
function showFigures(shown) {
  if (shown === figuresShown()) return;
  const place = scrollY;
  document.body.classList.toggle("figures", shown);
  scrollTo(0, shown ? 0 : showFigures.place);
  if (shown) showFigures.place = place;
}

const cursor = new Cursor(blocks, (t, byKey) => {
  card.classList.toggle("empty", t === null);
  if (t === null) return emptyCard();
  fillCard(card, t, values && knownUnits.get(choice.unit), values);
  card.prepend(
    make("button", { type: "button", className: "close", "aria-label": "Close", onclick: () => cursor.leave() }, "×"),
  );
  if (byKey) element("said").textContent = `${named(tokenText(t))}, ${inWords(t)}`;
});

function emptyCard() {
  card.replaceChildren(
    note("Point at the text, or go through it with the arrow keys. A click holds a token."),
  );
}

const showInToolbar = furnishToolbar(element("toolbar"), choose);

async function choose(change) {
  choice = { ...choice, ...change };
  await show();
}

const chooseUnit = (unit) => {
  showFigures(false);
  return choose({ colour: "unit", unit });
};

async function show() {
  const asked = choice;
  const colouring = await colouringOf(asked);
  if (asked !== choice) return; // something else was chosen meanwhile
  values = asked.colour === "unit" ? await unitValues(asked.unit) : null;
  keepChoice(asked);
  showInToolbar(asked, colouring);
  blocks.show(colouring, asked);
  cursor.refresh();
}

function headerParts() {
  const { characters, loss, bits_per_character, perplexity, unknown } = data.figures;
  return [
    make("h1", {}, data.name),
    make("p", {}, `read by ${data.run} (${data.network}, ${data.level}s), textgen ${data.textgen}`),
    make(
      "p",
      {},
      [
        counted(characters, "character"),
        WORDS ? counted(data.figures.tokens, "token") : null,
        `${bits_per_character.toFixed(2)} bits per character`,
        `loss ${loss.toFixed(3)} nats per token`,
        `perplexity ${perplexity.toPrecision(3)}`,
        unknown ? `${percent(unknown)} not in the vocabulary` : null,
      ]
        .filter(Boolean)
        .join(" · "),
    ),
    data.truncated === null
      ? null
      : make(
          "p",
          { className: "warn" },
          `This is the beginning, ${whole(characters)} of ${counted(data.truncated, "character")}.`,
        ),
  ];
}

element("header").append(...headerParts().filter((part) => part !== null));
emptyCard();
card.classList.add("empty");
new ResizeObserver(([{ target }]) =>
  document.documentElement.style.setProperty("--top", `${target.offsetHeight}px`),
).observe(element("toolbar"));
addEventListener("hashchange", () => choose(readChoice()));
await show();

const panels = [
  surprisalPanel(),
  rankPanel(),
  featuresPanel(chooseUnit),
  memoryPanel(),
  await saturationPanel(chooseUnit),
  copiesPanel((passage) => {
    showFigures(false);
    return choose({ colour: "copied" }).then(() => cursor.choose(tokenAt(passage.start)));
  }),
  authorsPanel(),
];
element("panels").append(...panels.filter((panel) => panel !== null));

const stop = make("p", { className: "stop" });
element("text").after(stop);
addEventListener("beforeprint", () => {
  const printed = blocks.prepareToPrint();
  stop.textContent =
    printed < tokenCount
      ? `Printed to token ${whole(printed)} of ${whole(tokenCount)}.`
      : "";
});
addEventListener("afterprint", () => blocks.endPrinting());
