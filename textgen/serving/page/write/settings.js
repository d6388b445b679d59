// The settings of writing: the model, the seed, and the server's options of sampling.

import { store, stored } from "../stored.js";
import { Told } from "../told.js";

const KEY = "textgen.settings";
const LARGEST_SEED = 2 ** 31;

export const PRESETS = {
  calm: { title: "Calm", values: { temperature: 0.5, top_p: 0.95 } },
  balanced: { title: "Balanced", values: {} },
  wild: { title: "Wild", values: { temperature: 1.2, min_p: 0.02 } },
};
/** The options that presets set; the others stay. */
const OF_PRESETS = ["temperature", "top_k", "top_p", "min_p"];

const isNumber = Number.isFinite;
const isText = (value) => typeof value === "string";
/** Whether a value is of the type of an option. */
const IS_OF = {
  integer: Number.isInteger,
  number: isNumber,
  schedule: (value) => isNumber(value) || isText(value),
  boolean: (value) => typeof value === "boolean",
  texts: (value) => Array.isArray(value) && value.every(isText),
};

export class Settings extends Told {
  constructor() {
    super();
    this.options = []; // as GET /v1/options tells them
    this.models = null; // names, newest first; null until they are known
    this.levels = {}; // of the models: char, word or byte
    const kept = stored(KEY) ?? {};
    this.model = kept.model ?? null;
    this.seed = kept.seed ?? ""; // "" is a new one for each text
    this.values = kept.values ?? {}; // of the options that are not at their default
  }

  /** Ask the server for options and models. */
  async load(api) {
    const [options, { data }, { runs }] = await Promise.all([
      api.get("v1/options"),
      api.get("v1/models"),
      api.get("v1/runs"),
    ]);
    this.options = options;
    this.models = data.map(({ id }) => id);
    this.levels = Object.fromEntries(runs.map(({ name, level }) => [name, level]));
    this.values = this.valid(this.values);
    if (!this.models.includes(this.model)) this.model = this.models[0] ?? null;
    this.tell();
  }

  value(name) {
    return this.values[name] ?? this.options.find((option) => option.name === name)?.default ?? null;
  }

  /** Set an option; its default, or undefined, takes it back. */
  set(name, value) {
    const { default: usual } = this.options.find((option) => option.name === name);
    const values = { ...this.values, [name]: value };
    if (value === undefined || JSON.stringify(value) === JSON.stringify(usual)) delete values[name];
    this.#keep({ values });
  }

  choose({ model = this.model, seed = this.seed, values = this.values }) {
    this.#keep({ model, seed, values });
  }

  /** Return those values of options, perhaps of a link or of another version, that can be used. */
  valid(values) {
    const known = this.options.filter(({ name, type }) => IS_OF[type](values[name]));
    return Object.fromEntries(known.map(({ name }) => [name, values[name]]));
  }

  /** Return the name of the preset that is set, or null. */
  get preset() {
    const own = OF_PRESETS.filter((name) => name in this.values);
    const isSet = ([, { values }]) =>
      own.length === Object.keys(values).length &&
      own.every((name) => this.values[name] === values[name]);
    return Object.entries(PRESETS).find(isSet)?.[0] ?? null;
  }

  usePreset(name) {
    const others = Object.entries(this.values).filter(([name]) => !OF_PRESETS.includes(name));
    this.#keep({ values: { ...Object.fromEntries(others), ...PRESETS[name].values } });
  }

  /** Return a request for a text, without its prompt. It has a seed, so it can be repeated. */
  request() {
    const seed = this.seed === "" ? Math.floor(Math.random() * LARGEST_SEED) : Number(this.seed);
    const max_tokens = this.value("max_tokens") ?? undefined; // the server's own default is short
    return { model: this.model, max_tokens, ...this.values, seed };
  }

  #keep(changed) {
    Object.assign(this, changed);
    const { model, seed, values } = this;
    store(KEY, { model, seed, values });
    this.tell();
  }
}
