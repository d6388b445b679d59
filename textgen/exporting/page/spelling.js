// What it costs to spell a token that is not in the vocabulary, as preprocess/spelling.py counts it.

const CODE_POINTS = 0x110000; // of Unicode
const BORDER = ""; // stands before and after a token

/** How often each character occurs. */
class Counts extends Map {
  constructor() {
    super();
    this.total = 0;
  }

  add(character) {
    this.set(character, this.of(character) + 1);
    this.total++;
  }

  of(character) {
    return this.get(character) ?? 0;
  }
}

class Spelling {
  /** Count the pairs of neighbouring characters in tokens. */
  constructor(tokens) {
    this.singles = new Counts();
    this.followers = new Map(); // the counts of what follows each character
    for (const token of tokens) {
      for (const [before, after] of this.pairs(token)) {
        if (!this.followers.has(before)) this.followers.set(before, new Counts());
        this.followers.get(before).add(after);
        this.singles.add(after);
      }
    }
  }

  /** Return the negative log-probability of a token, in nats. */
  cost(token) {
    return this.pairs(token).reduce((sum, pair) => sum - Math.log(this.probability(...pair)), 0);
  }

  probability(before, after) {
    const { singles } = this;
    const kinds = singles.size || 1;
    const single = (singles.of(after) + kinds / (CODE_POINTS + 1)) / (singles.total + kinds);
    const followers = this.followers.get(before);
    if (!followers) return single;
    return (followers.of(after) + followers.size * single) / (followers.total + followers.size);
  }

  pairs(token) {
    const characters = [...token, BORDER];
    return characters.map((after, i) => [i ? characters[i - 1] : BORDER, after]);
  }
}
