// The desk: the text, the settings, what is proposed and seen, and what a person does with them.
//
// There is one for the page. It goes on while another view is shown.

import { Told } from "../told.js";
import { excerpt } from "./characters.js";
import { Editor } from "./editor.js";
import { Highlights } from "./highlights.js";
import { readLink } from "./link.js";
import { lengthOf, textOf } from "./pieces.js";
import { Proposals } from "./proposals.js";
import { See } from "./see.js";
import { Session } from "./session.js";
import { Settings } from "./settings.js";
import { Shelf } from "./shelf.js";

const SAVE_PAUSE = 1000; // milliseconds after a change
const READ_ALOUD = 400; // characters of what was written

export class Desk extends Told {
  #saving = null;
  #timer = null;
  #saved = 0; // the session's changes that are stored

  constructor(api) {
    super();
    this.api = api;
    this.settings = new Settings();
    this.session = new Session(api);
    this.shelf = new Shelf();
    this.see = new See(this);
    this.proposals = new Proposals(this);
    this.editor = null; // while the view is shown
    this.isReady = false;
    this.said = ""; // for screen readers
    this.removed = 0; // how often a stored text was thrown away
    this.keepProblem = null; // why the browser does not keep the text
    this.session.listen((change) => this.#changed(change));
    this.settings.listen(() => this.tell());
    document.addEventListener("visibilitychange", () => document.hidden && this.save());
    addEventListener("pagehide", () => this.save());
    this.opening = this.#openLast();
  }

  /** Show the text in an element. */
  attach(element, pane) {
    const { session } = this;
    this.editor = new Editor(element, pane, {
      takeOver: () => session.stop(),
      edit: (start, end, text) => session.edit(start, end, text),
      undo: () => this.undo(),
      redo: () => this.redo(),
      move: () => {
        this.proposals.moved();
        this.tell();
      },
    });
    this.editor.replace(0, 0, session.text);
    const { see } = this;
    this.highlights = new Highlights(this.editor, () => ({
      pieces: session.pieces,
      surprise: see.surprise,
      copied: see.copied,
    }));
    this.highlights.refresh();
  }

  detach() {
    this.proposals.close();
    this.highlights.close();
    this.editor.close();
    this.editor = null;
  }

  /** Learn what the server has; return whether it told. */
  async start() {
    await this.opening;
    try {
      await this.settings.load(this.api);
      return true;
    } catch (error) {
      this.session.complain(error);
      return false;
    }
  }

  /** Do what an address asks for. */
  async follow(query) {
    const { session, settings } = this;
    const link = readLink(query);
    if (link) {
      if (!(await this.open())) return; // what was open is kept
      settings.choose({ values: settings.valid(link.values) });
      if (link.prompt) session.edit(0, 0, link.prompt);
    }
    const model = query.get("model");
    if (model !== null && !settings.models.includes(model)) {
      session.complain({ message: `The server has no model ${model}.`, param: "model" });
      return;
    }
    if (model !== null) settings.choose({ model });
    if (link) await this.#writeAgain(link);
  }

  get isWriting() {
    return this.session.isWriting;
  }

  get caret() {
    return this.editor?.caret ?? { start: this.session.text.length, end: this.session.text.length };
  }

  /** Let the model write, with a seed if one is given. */
  async write(seed = null) {
    await this.#writing((request) => {
      if (seed !== null) request.seed = seed;
      return this.session.write(request, this.caret.end);
    });
  }

  async again() {
    await this.#writing((request) => this.session.again(request, this.caret.end));
  }

  stop() {
    this.session.stop();
    this.proposals.close();
  }

  /** The last text that the model wrote on the way to here, or null. */
  get last() {
    const { history } = this.session;
    const way = [history.current, ...history.above(history.current)];
    return way.find(({ kind }) => kind === "write") ?? null;
  }

  suggest() {
    this.editor.focus();
    return this.proposals.suggest();
  }

  lookAtCaret() {
    this.editor.focus();
    return this.proposals.lookAtCaret();
  }

  /** Show a part of the text, selected. */
  show({ start, end }) {
    this.editor.select(start, end);
    this.editor.focus();
    this.editor.reveal(start);
    this.editor.pane.scrollIntoView({ block: "nearest" }); // in a narrow window, it is above
  }

  undo() {
    this.session.undo();
  }

  redo() {
    this.session.redo();
  }

  goTo(change) {
    this.session.goTo(change);
  }

  /** Put a token that a model holds likely in place of another, and go on from there. */
  async take({ start, end }, text) {
    await this.#writing((request) => {
      this.session.choose(start, end, text, { model: request.model });
      return this.session.write(request, start + text.length);
    });
  }

  /** Put a text that a model suggested at the caret. */
  accept(text, made) {
    const { end } = this.caret;
    this.session.choose(end, end, text, made);
  }

  /** Open a stored text, or a new one without a title; return whether it is open. */
  async open(title = null) {
    const { session } = this;
    const isOpen = () => title?.id === session.id;
    if (isOpen()) await this.save();
    const saved = title && (await this.shelf.load(title.id));
    if (isOpen() && saved?.version === session.version) return true;
    if (title && !saved) {
      this.removed += 1;
      session.complain({ message: "This text was deleted in another tab." });
      return false;
    }
    session.stop();
    // What is typed meanwhile is stored, too.
    do await this.save();
    while (this.#saved !== session.changes && !this.keepProblem);
    const isLost = this.keepProblem && session.text;
    if (isLost && !confirm(`${this.keepProblem} Throw it away?`)) return false;
    this.#openSaved(saved);
    return true;
  }

  /** Throw a stored text away. */
  async remove(title) {
    if (title.id === this.session.id) {
      this.session.stop();
      await this.#saving;
      this.#openSaved(null);
    }
    await this.shelf.remove(title.id);
    this.removed += 1;
    this.tell();
  }

  /** Store the text, unless it is stored already. */
  async save() {
    clearTimeout(this.#timer);
    this.#timer = null;
    // One after the other: each needs the version that the one before got.
    while (this.#saving) await this.#saving;
    if (!this.isReady || this.#saved === this.session.changes) return;
    this.#saving = this.#store().finally(() => (this.#saving = null));
    await this.#saving;
  }

  async #store() {
    const { session } = this;
    const { history, id, version } = session;
    let { changes } = session;
    if (id === null && !session.text) {
      this.#saved = changes;
      return;
    }
    const look = () => {
      if (session.history !== history) return null; // another text was opened
      changes = session.changes;
      const title = excerpt(session.text) || "(empty)";
      return { title, length: session.text.length, content: session.saved };
    };
    try {
      const stored = await this.shelf.save(id, version, look);
      if (session.history === history) {
        Object.assign(session, stored);
        this.#saved = changes;
      }
      this.keepProblem = null;
    } catch (error) {
      this.#cannotKeep(error);
    }
    this.tell();
  }

  async #openLast() {
    try {
      const [last] = await this.shelf.list();
      this.#openSaved(last && (await this.shelf.load(last.id)));
    } catch (error) {
      this.#cannotKeep(error);
    }
    this.isReady = true;
    this.tell();
  }

  #cannotKeep(error) {
    this.keepProblem = `This browser does not keep the text: ${error.message}`;
  }

  #openSaved(saved) {
    this.session.open(saved ?? null);
    this.#saved = this.session.changes;
    this.editor?.select(this.session.text.length);
    this.tell();
  }

  /** Write the text of a link. */
  async #writeAgain({ seed, weights }) {
    await this.write(seed);
    const { made } = this.session.history.current;
    if (weights && made?.weights && made.weights !== weights) {
      this.session.complain({
        message: "The model was trained again since the link was made, so the text may differ.",
      });
    }
  }

  async #writing(begin) {
    const { session, caret } = this;
    const before = session.history.current;
    this.proposals.close();
    if (!this.settings.model) return;
    session.problem = null;
    // Colours grow with the text, but the server sends more for them.
    const logprobs = this.see.surprise ? 0 : undefined;
    const writing = begin({ ...this.settings.request(), logprobs });
    if (!writing) return;
    const { history } = session;
    const { current } = history;
    this.say("The model writes.");
    await writing;
    if (session.history !== history) return;
    if (history.current === before) this.editor?.select(caret.start, caret.end); // nothing came
    if (history.current !== current) return;
    // The caret stays where it was while the text grows, unless it is moved.
    if (this.caret.end === current.at) this.editor?.select(current.at + lengthOf(current.inserted));
    const text = textOf(current.inserted);
    this.say(text.length > READ_ALOUD ? `… ${text.slice(-READ_ALOUD)}` : text);
  }

  /** Have a screen reader say something, when it has time. */
  say(words) {
    this.said = words;
    this.tell();
  }

  #changed(change) {
    const { editor, session } = this;
    if (change && editor) {
      const grows = session.isWriting;
      const follows = grows && editor.isVisible(change.at);
      const end = change.at + change.inserted.length;
      editor.replace(change.at, change.removed, change.inserted);
      if (follows) editor.reveal(end);
      else if (!grows && (change.removed || change.inserted)) {
        editor.select(end);
        editor.reveal(end);
      }
      this.highlights.refresh();
    }
    if (change) {
      this.see.changed(change);
      this.proposals.changed();
      this.#timer ??= setTimeout(() => this.save(), SAVE_PAUSE);
    }
    this.tell(change);
  }
}
