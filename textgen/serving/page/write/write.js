import { html } from "../vendor/htm-preact.module.js";
export function Write() { return html`<p>soon</p>`; }
