// The weights, as textgen/exporting/html.py stores them.

/** Decode base64 into bytes. */
function bytesOf(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

class Weights {
  /** `layout` has the name and the shape of each array; `bits` are those of a weight, 16 or 8. */
  constructor(bytes, layout, bits) {
    this.buffer = bytes.buffer;
    this.layout = layout;
    this.bits = bits;
    this.next = 0;
  }

  /** Return all arrays, flat, in float32, each in the one that `place(count, shape)` returns. */
  read(place) {
    this.next = 0;
    return this.layout.map(([name, shape]) => {
      const array = place(
        shape.reduce((product, size) => product * size),
        shape,
      );
      if (this.bits === 16 || name.endsWith("bias")) this.readHalves(array);
      else this.readScaled(array, shape, name === "embedding");
      return array;
    });
  }

  /** Read float16. Its bits, moved to those of float32, stand for a number 2^112 times smaller. */
  readHalves(array) {
    const halves = this.take(Uint16Array, array.length);
    const bits = new Uint32Array(array.buffer, array.byteOffset, array.length);
    for (let i = 0; i < bits.length; i++) {
      bits[i] = ((halves[i] & 0x8000) << 16) | ((halves[i] & 0x7fff) << 13);
      array[i] *= 2 ** 112;
    }
  }

  /** Read int8, with a scale for each row or each column. */
  readScaled(array, [rows, columns], areOfRows) {
    const scales = this.take(Float32Array, areOfRows ? rows : columns);
    const numbers = this.take(Int8Array, rows * columns);
    for (let i = 0; i < array.length; i++) {
      array[i] = numbers[i] * scales[areOfRows ? Math.floor(i / columns) : i % columns];
    }
  }

  take(Type, count) {
    const start = this.next;
    this.next += count * Type.BYTES_PER_ELEMENT;
    return new Type(this.buffer.slice(start, this.next)); // aligned
  }
}
