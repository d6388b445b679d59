// The network by the C kernel, kernels/sampling.c, which is compiled to WebAssembly.

const ALIGNMENT = 64;
const PAGE = 65536; // bytes by which the memory grows
const CELLS = ["lstm", "gru", "cifg"]; // as kernels/network.h numbers them

class KernelNetwork {
  /** `weights.read(place)` puts arrays where `place(count)` says. Throws without WebAssembly SIMD. */
  constructor(binary, { cell, units, embedding, tie, vocabulary }, weights) {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(binary));
    this.memory = exports.memory;
    this.top = exports.__heap_base.value;
    const places = []; // an array itself loses its place when the memory grows
    weights.read((count) => {
      const array = this.floats(count);
      places.push(array.byteOffset);
      return array;
    });
    if (tie) places.splice(-1, 0, places[0]); // the output kernel
    const pointers = this.integers(places);
    const network = this.integers([
      ...[CELLS.indexOf(cell), units.length, embedding, vocabulary, vocabulary, Number(tie)],
      this.integers(units),
    ]);
    const packed = this.take(exports.textgen_packed_bytes(network, 0));
    exports.textgen_pack(network, 0, pointers, packed);
    const room = this.take(exports.textgen_room(packed, 1, 1));
    const token = this.integers([0, 0]); // 64 bits
    const state = this.floats(exports.textgen_state_size(packed)).byteOffset;
    const logits = this.floats(vocabulary).byteOffset;
    // The memory grows no more, so these arrays stay valid.
    this.token = new Int32Array(this.memory.buffer, token, 1);
    this.state = new Float32Array(this.memory.buffer, state, exports.textgen_state_size(packed));
    this.logits = new Float32Array(this.memory.buffer, logits, vocabulary);
    this.advance = () => exports.textgen_step(packed, 1, 1, token, state, state, logits, room);
  }

  /** Go to the start of a text. */
  reset() {
    this.state.fill(0);
  }

  /** Read a token; return the logits of the next one, which the next call overwrites. */
  step(token) {
    this.token[0] = token;
    this.advance();
    return this.logits;
  }

  take(bytes) {
    const start = Math.ceil(this.top / ALIGNMENT) * ALIGNMENT;
    this.top = start + bytes;
    const lacking = this.top - this.memory.buffer.byteLength;
    if (lacking > 0) this.memory.grow(Math.ceil(lacking / PAGE));
    return start;
  }

  floats(count) {
    const start = this.take(4 * count);
    return new Float32Array(this.memory.buffer, start, count);
  }

  integers(numbers) {
    const start = this.take(4 * numbers.length);
    new Int32Array(this.memory.buffer, start, numbers.length).set(numbers);
    return start;
  }
}
