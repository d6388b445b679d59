// The view Write: a text, the model that goes on with it, and what lies beside it.

import { html, useEffect, useRef } from "../vendor/htm-preact.module.js";
import { useTold } from "../told.js";
import { Branches } from "./branches.js";
import { Compare } from "./compare.js";
import { Controls } from "./controls.js";
import { Desk } from "./desk.js";
import { List, LIST_ID, optionId } from "./list.js";
import { Looking } from "./looking.js";
import { Texts } from "./texts.js";
import { Keys, keyDown } from "./keys.js";
import { Toolbar } from "./toolbar.js";

let desk = null;

/** @param {{api: object, place: {query: URLSearchParams}}} props */
export function Write({ api, place }) {
  desk ??= new Desk(api);
  useTold(desk, (change) => !change);
  useEffect(() => {
    const { hash } = location;
    desk.start().then((isLoaded) => {
      if (!isLoaded || location.hash !== hash) return;
      if ([...place.query].length) history.replaceState(null, "", "#write"); // it is done once
      desk.follow(place.query);
    });
  }, [place]);
  return html`
    <div class="desk" onKeyDown=${(event) => keyDown(desk, event)}>
      <section class="sheet" aria-label="Text">
        <${Toolbar} desk=${desk} />
        <${Problem} desk=${desk} />
        <${Field} desk=${desk} />
        <${Status} desk=${desk} />
      </section>
      <aside class="beside" aria-label="Tools">
        <${Section} title="Settings" open><${Controls} desk=${desk} /><//>
        <${Section} title="Look closer"><${Looking} desk=${desk} /><//>
        <${Section} title="History"><${Branches} desk=${desk} /><//>
        <${Section} title="Side by side"><${Compare} desk=${desk} /><//>
        <${Section} title="Texts"><${Texts} desk=${desk} /><//>
        <${Section} title="Keys"><${Keys} /><//>
      </aside>
      <p class="unseen" role="status">${desk.said}</p>
    </div>
  `;
}

function Section({ title, open, children }) {
  // Narrow windows have the tools below the text, closed.
  const isOpen = open && matchMedia("(min-width: 60rem)").matches;
  return html`
    <details open=${isOpen}>
      <summary><h2>${title}</h2></summary>
      <div class="content">${children}</div>
    </details>
  `;
}

/** The text itself. */
function Field({ desk }) {
  const element = useRef(null);
  const pane = useRef(null);
  useTold(desk.proposals);
  const { list } = desk.proposals;
  useEffect(() => {
    desk.attach(element.current, pane.current);
    const refresh = () => desk.highlights.refresh();
    const observer = new ResizeObserver(refresh);
    observer.observe(pane.current);
    return () => {
      observer.disconnect();
      desk.detach();
    };
  }, []);
  const point = ({ pointerType, clientX, clientY, buttons }) => {
    if (pointerType === "mouse" && !buttons) {
      desk.proposals.point(desk.editor.positionAt(clientX, clientY));
    }
  };
  // A finger cannot hover.
  const tap = ({ pointerType, clientX, clientY }) => {
    if (pointerType === "touch") desk.proposals.point(desk.editor.positionAt(clientX, clientY));
  };
  const scroll = () => {
    desk.highlights.refresh();
    desk.proposals.close();
  };
  return html`
    <div class="pane" ref=${pane} onScroll=${scroll}>
      <div
        class="text empty"
        ref=${element}
        contenteditable=${desk.isReady ? "plaintext-only" : "false"}
        role="textbox"
        aria-multiline="true"
        aria-label="Text"
        aria-placeholder="Write a beginning, or let the model begin."
        aria-controls=${list ? LIST_ID : null}
        aria-activedescendant=${list?.takesKeys ? optionId(list.active) : null}
        dir="auto"
        spellcheck="false"
        onPointerMove=${point}
        onPointerLeave=${() => desk.proposals.leave()}
        onClick=${tap}
      ></div>
    </div>
    <${List} desk=${desk} />
  `;
}

/** An error in plain words. */
function Problem({ desk }) {
  const { session, settings } = desk;
  const hasNone = settings.models && !settings.models.length;
  return html`
    <div role="alert">
      ${session.problem &&
      html`
        <p class="problem">
          ${session.problem.message} ${session.isKept && "What was written is kept."}
          <button type="button" onClick=${() => session.complain(null)}>Close</button>
        </p>
      `}
      ${hasNone && html`<p class="problem">There is no model yet. <a href="#learn">Train one.</a></p>`}
      ${desk.keepProblem && html`<p class="problem">${desk.keepProblem}</p>`}
    </div>
  `;
}

/** How much there is, and how fast it grows. */
function Status({ desk }) {
  const begun = useRef(null);
  useTold(desk.session);
  const { session } = desk;
  if (!session.isWriting) begun.current = null;
  else begun.current ??= performance.now();
  const written = session.isWriting ? session.written : null;
  const seconds = (performance.now() - begun.current) / 1000;
  return html`
    <p class="status">
      <span>${session.text.length.toLocaleString("en")} characters</span>
      ${written &&
      html`<span>
        ${written.toLocaleString("en")} written,${" "}
        ${Math.round(written / seconds).toLocaleString("en")} a second
      </span>`}
    </p>
  `;
}
