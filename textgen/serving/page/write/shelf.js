// The texts that are kept in this browser, with their history.

const NAME = "textgen";

/**
 * @typedef {object} Title
 * @property {string} id
 * @property {number} version how often the text was stored
 * @property {string} title the beginning of the text
 * @property {number} length in characters
 * @property {number} time when it was stored, in milliseconds
 */

export class Shelf {
  #opened = null;

  /** @returns {Promise<Title[]>} the titles, newest first */
  async list() {
    const titles = await this.#do("readonly", (titles) => titles.getAll());
    return titles.sort((a, b) => b.time - a.time);
  }

  /** Return a text as it was stored, or null. */
  async load(id) {
    return (await this.#do("readonly", (_, texts) => texts.get(id))) ?? null;
  }

  /**
   * Store a text; return its `{id, version}` from now on.
   *
   * If another tab has stored the same text meanwhile, both are kept: this one gets a new id.
   *
   * @param {string|null} id null for a text that was not stored before
   * @param {number} version as it was stored last
   * @param {() => {title: string, length: number, content: object}|null} look what to store, if
   *   anything; it is called when the store is ready, because the text may change until then
   */
  async save(id, version, look) {
    let stored = { id: id ?? newId(), version: version + 1 };
    await this.#do("readwrite", (titles, texts) => {
      const before = titles.get(stored.id);
      before.onsuccess = () => {
        const found = look();
        if (!found) return;
        if (id !== null && before.result?.version !== version) stored = { id: newId(), version: 1 };
        const { title, length, content } = found;
        titles.put({ ...stored, title, length, time: Date.now() });
        texts.put({ ...stored, ...content });
      };
    });
    return stored;
  }

  async remove(id) {
    await this.#do("readwrite", (titles, texts) => {
      titles.delete(id);
      texts.delete(id);
    });
  }

  /** Do something with the two stores; return the result of the request it returns, if any. */
  async #do(mode, work) {
    this.#opened ??= open();
    const transaction = (await this.#opened).transaction(["titles", "texts"], mode);
    const request = work(transaction.objectStore("titles"), transaction.objectStore("texts"));
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(request?.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

function open() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      for (const name of ["titles", "texts"]) {
        request.result.createObjectStore(name, { keyPath: "id" });
      }
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function newId() {
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
}
