// What is shown: the colouring, the unit, guesses; chosen in the toolbar, kept in the address.

const DEFAULT = {
  colour: "surprisal",
  unit: keyOf(data.features[0]?.best[0] ?? [...knownUnits.values()][0] ?? {}),
  guesses: false,
};

/** The choice that the address holds; what it does not hold, or wrongly, is the default. */
function readChoice() {
  const query = new URLSearchParams(location.hash.slice(1));
  return {
    colour: Object.hasOwn(COLOURS, query.get("colour")) ? query.get("colour") : DEFAULT.colour,
    unit: knownUnits.has(query.get("unit")) ? query.get("unit") : DEFAULT.unit,
    guesses: query.has("guesses"),
  };
}

function keepChoice({ colour, unit, guesses }) {
  if (location.protocol === "about:") return; // in a frame of a notebook
  const query = new URLSearchParams({ colour });
  if (colour === "unit") query.set("unit", unit);
  if (guesses) query.set("guesses", "");
  history.replaceState(null, "", `#${query}`);
}

/** The toolbar: call `choose(change)` for each choice; return a function that shows a choice. */
function furnishToolbar(toolbar, choose) {
  const radios = Object.entries(COLOURS).map(([colour, title]) => {
    const radio = make("input", {
      type: "radio",
      name: "colour",
      value: colour,
      onchange: () => choose({ colour }),
    });
    return { radio, label: make("label", {}, radio, make("span", {}, title)) };
  });
  const guesses = make("input", {
    type: "checkbox",
    onchange: () => choose({ guesses: guesses.checked }),
  });
  const picker = makePicker((unit) => choose({ unit }));
  const legend = make("p", { className: "legend" });
  const figures = make("button", { type: "button", className: "narrow" }, "Figures");
  figures.addEventListener("click", () => showFigures(!figuresShown()));
  toolbar.append(
    make(
      "fieldset",
      { className: "segments" },
      make("legend", { className: "unseen" }, "Colour by"),
      ...radios.map(({ label }) => label),
    ),
    make("label", { className: "check" }, guesses, "Guesses"),
    figures,
    picker.element,
    legend,
  );
  return (choice, colouring) => {
    for (const { radio } of radios) radio.checked = radio.value === choice.colour;
    guesses.checked = choice.guesses;
    picker.element.hidden = choice.colour !== "unit";
    picker.show(choice.unit);
    legend.className = `legend by-${choice.colour}`;
    legend.replaceChildren(...colouring.legend.filter((part) => part !== null));
  };
}

/** Fields that pick a unit: those found for each feature, or any that is known. */
function makePicker(choose) {
  const found = make(
    "select",
    { "aria-label": "Found unit", onchange: () => found.value && choose(found.value) },
    make("option", { value: "" }, "found units"),
    ...data.features.map(({ name, best }) =>
      make(
        "optgroup",
        { label: name },
        ...best.map((match) =>
          make("option", { value: keyOf(match) }, `${name}: ${nameOfUnit(match)}, ${signed(match.correlation)}`),
        ),
      ),
    ),
  );
  const keys = [...knownUnits.keys()];
  const layers = [...new Set([...knownUnits.values()].map(({ layer }) => layer))];
  const parts = [...new Set([...knownUnits.values()].map(({ part }) => part))];
  const options = (values, name) =>
    values.map((value) => make("option", { value }, name(value)));
  const layer = make("select", { "aria-label": "Layer" }, ...options(layers, (n) => `layer ${n}`));
  const part = make("select", { "aria-label": "Part" }, ...options(parts, String));
  const unit = make("input", { type: "number", min: 0, "aria-label": "Unit" });
  const pick = () => {
    const key = keyOf({ layer: layer.value, unit: Number(unit.value), part: part.value });
    unit.setAttribute("aria-invalid", String(!knownUnits.has(key)));
    if (knownUnits.has(key)) choose(key);
  };
  for (const field of [layer, part, unit]) field.addEventListener("change", pick);
  let shown = null;
  const step = (way) => choose(keys[(keys.indexOf(shown) + way + keys.length) % keys.length]);
  const button = (text, label, way) =>
    make("button", { type: "button", "aria-label": label, onclick: () => step(way) }, text);
  const element = make(
    "div",
    { className: "picker", role: "group", "aria-label": "Unit" },
    data.features.length ? found : null,
    button("‹", "Previous unit", -1),
    button("›", "Next unit", 1),
    ...(everyUnit.length ? [layer, unit, part] : []),
  );
  element.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!way || event.target.tagName !== "BUTTON") return;
    event.preventDefault();
    step(way);
  });
  return {
    element,
    show(key) {
      shown = key;
      found.value = foundUnits.has(key) ? key : "";
      if (!knownUnits.has(key)) return;
      const one = knownUnits.get(key);
      [layer.value, unit.value, part.value] = [one.layer, one.unit, one.part];
      unit.setAttribute("aria-invalid", "false");
    },
  };
}
