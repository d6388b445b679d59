// Text to ids and back: characters, words and bytes, as textgen/preprocess/tokenizers.py does it.

class Tokenizer {
  /** `known` are the tokens that have an id of their own, from `first` on. */
  constructor(known, first, hasDocuments) {
    this.known = known;
    this.first = first;
    this.end = hasDocuments ? first + known.length : null; // the end-of-document token
    this.unknown = null; // the token that stands for all others
    this.ids = new Map(known.map((token, i) => [token, first + i]));
  }

  /** Return the ids of a text, and its tokens that are not in the vocabulary. */
  encode(text) {
    const tokens = this.split(text);
    const ids = tokens.map((token) => this.ids.get(token) ?? this.unknown);
    return {
      ids: ids.filter((id) => id !== null),
      unknown: tokens.filter((token) => !this.ids.has(token)),
    };
  }

  /** Return what `encode` does, and the end of the text that is left to the next token. */
  encodePrompt(text) {
    const normal = this.normalized(text);
    const ahead = this.endAhead(normal);
    return { ...this.encode(normal.slice(0, normal.length - ahead.length)), ahead };
  }

  endAhead() {
    return "";
  }

  /** Return the ids of the tokens that begin with a text. */
  beginWith(text) {
    return this.known.filter((token) => token.startsWith(text)).map((token) => this.ids.get(token));
  }

  /** Return the ids of all other tokens. */
  othersThan(text) {
    const beginning = new Set(this.beginWith(text));
    const size = this.first + this.known.length + (this.end !== null);
    return Array.from({ length: size }, (_, id) => id).filter((id) => !beginning.has(id));
  }

  /** Return the normal form of a text with the fewest unknown tokens. */
  normalized(text) {
    const forms = [text, text.normalize("NFC"), text.normalize("NFD")];
    const counts = forms.map((form) => this.encode(form).unknown.length);
    return forms[counts.indexOf(Math.min(...counts))];
  }

  /** Return a function from the next id to the text that it completes. */
  decoder() {
    return (id) => this.known[id - this.first] ?? "";
  }
}

class CharacterTokenizer extends Tokenizer {
  constructor(codes, hasDocuments) {
    super(
      codes.map((code) => String.fromCodePoint(code)),
      0,
      hasDocuments,
    );
  }

  split(text) {
    return [...text];
  }
}

class WordTokenizer extends Tokenizer {
  constructor(words, hasDocuments) {
    super(words, 1, hasDocuments);
    this.unknown = 0;
  }

  split(text) {
    return splitWords(text);
  }

  /** A single space, or an unfinished word, is left to the next word. */
  endAhead(text) {
    const [word = ""] = this.split(text).slice(-1);
    const isFinished = SPACE_ALONE.test(word) || this.ids.has(word);
    const ahead = ENDS_WITH_A_SPACE.test(text) ? " " : isFinished ? "" : word;
    return ahead && this.beginWith(ahead).length ? ahead : "";
  }
}

class ByteTokenizer extends Tokenizer {
  constructor(_, hasDocuments) {
    super(
      Array.from({ length: 256 }, (_, byte) => byte),
      0,
      hasDocuments,
    );
  }

  split(text) {
    return [...new TextEncoder().encode(text)];
  }

  decoder() {
    const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    return (id) => (id === this.end ? "" : decoder.decode(Uint8Array.of(id), { stream: true }));
  }
}

const TOKENIZERS = { char: CharacterTokenizer, word: WordTokenizer, byte: ByteTokenizer };
