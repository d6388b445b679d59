// Elements, and numbers in words.

/** Make an element: properties, attributes, and listeners named on...; null children are left out. */
function make(tag, settings = {}, ...children) {
  return furnish(document.createElement(tag), settings, children);
}

function makeSvg(tag, settings = {}, ...children) {
  return furnish(document.createElementNS("http://www.w3.org/2000/svg", tag), settings, children);
}

function furnish(element, settings, children) {
  for (const [name, value] of Object.entries(settings)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (element instanceof HTMLElement && name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A table; the first cell of each row is its heading. */
function makeTable(caption, headings, rows) {
  const cells = (row) =>
    row.map((cell, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, String(cell)));
  return make(
    "table",
    {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...headings.map((cell) => make("th", { scope: "col" }, cell)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...cells(row)))),
  );
}

/** A table that stands for a picture. */
const makeAlternative = (...table) =>
  make("details", {}, make("summary", {}, "As a table"), makeTable(...table));

/** A bar for a share of 1. It is beside the number that it shows. */
function makeBar(share) {
  const bar = make("span", { className: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", `${Math.min(Math.abs(share), 1) * 100}%`);
  if (share < 0) bar.classList.add("negative");
  return bar;
}

const whole = (number) => number.toLocaleString("en");
const counted = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;
const signed = (number) => (number < 0 ? "−" : "+") + Math.abs(number).toFixed(2);

function percent(share) {
  const hundred = share * 100;
  if (hundred > 0 && hundred < 0.1) return "< 0.1%";
  if (hundred > 99.9 && hundred < 100) return "> 99.9%";
  const near = (hundred > 0 && hundred < 10) || (hundred > 99 && hundred < 100); // to 0 or 1
  return `${hundred.toFixed(near ? 1 : 0)}%`;
}
