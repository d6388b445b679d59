// The list of what a model proposes, beside its place in the text.

import { html, useLayoutEffect, useRef } from "../vendor/htm-preact.module.js";
import { useTold } from "../told.js";
import { percent, visible } from "./proposals.js";

export const LIST_ID = "proposals";
export const optionId = (index) => `proposal-${index}`;

const GAP = 6; // pixels

export function List({ desk }) {
  const { proposals } = desk;
  useTold(proposals);
  const box = useRef(null);
  const { list } = proposals;
  useLayoutEffect(() => {
    if (list) place(box.current, desk.editor.rectAt(list.start, list.end));
  }, [list]);
  if (!list) return null;
  const isTokens = list.kind === "likeliest";
  return html`
    <div
      class="proposals"
      ref=${box}
      onPointerEnter=${() => proposals.stay()}
      onPointerLeave=${() => proposals.leave()}
    >
      <ul
        id=${LIST_ID}
        role="listbox"
        aria-label=${isTokens ? "The likeliest tokens here" : "How the text may go on"}
      >
        ${list.items.map(
          (item, index) => html`
            <li
              id=${optionId(index)}
              role="option"
              aria-selected=${list.takesKeys && index === list.active}
              aria-disabled=${!item.isText}
              class=${item.isHere ? "here" : ""}
              onMouseDown=${(event) => event.preventDefault()}
              onClick=${() => proposals.take(index)}
            >
              <span class="token" dir="auto">${visible(item.text)}</span>
              ${item.isHere && html`<span class="hint">stands here</span>`}
              ${item.probability !== null && html`<${Share} of=${item.probability} />`}
            </li>
          `,
        )}
      </ul>
      ${!isTokens && html`<p class="hint">Tab takes it, ↑ and ↓ show others.</p>`}
      ${list.passage && html`<${Passage} passage=${list.passage} text=${desk.session.text} />`}
    </div>
  `;
}

function Share({ of }) {
  const bar = useRef(null);
  useLayoutEffect(() => {
    bar.current.style.width = `${100 * of}%`;
  }, [of]);
  return html`
    <span class="bar" aria-hidden="true"><span ref=${bar}></span></span>
    <span class="share">${percent(of)}</span>
  `;
}

/** A copied passage where it stands in the book. */
export function Passage({ passage, text }) {
  const { start, end, source, before, after } = passage;
  return html`
    <figure class="passage">
      <figcaption>Word for word in ${source}</figcaption>
      <blockquote dir="auto">
        ${before && "…"}${before}<mark>${text.slice(start, end)}</mark>${after}${after && "…"}
      </blockquote>
    </figure>
  `;
}

/** Put a box below a rectangle of the window, or above it where there is more room. */
function place(box, rect) {
  const { offsetWidth: width, offsetHeight: height } = box;
  const [room, wide] = [document.documentElement.clientHeight, document.documentElement.clientWidth];
  const isBelow = rect.bottom + GAP + height <= room || rect.top < room / 2;
  const left = Math.max(GAP, Math.min(rect.left, wide - width - GAP));
  const top = isBelow ? rect.bottom + GAP : Math.max(GAP, rect.top - GAP - height);
  box.style.left = `${left}px`;
  box.style.top = `${top}px`;
  box.style.maxHeight = `${isBelow ? room - top - GAP : rect.top - 2 * GAP}px`;
}
