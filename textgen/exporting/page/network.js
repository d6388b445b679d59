// The network in JavaScript, for browsers without WebAssembly SIMD.

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const padded = (count) => Math.ceil(count / 4) * 4;

/** Add x, (K,), times a matrix, (K, N), to y, (N,). K is a multiple of 4. */
function addProduct(y, x, matrix) {
  const size = y.length;
  for (let k = 0; k < x.length; k += 4) {
    const [a, b, c, d] = [x[k], x[k + 1], x[k + 2], x[k + 3]];
    const first = k * size;
    const second = first + size;
    const third = second + size;
    const fourth = third + size;
    for (let n = 0; n < size; n++) {
      y[n] +=
        a * matrix[first + n] +
        b * matrix[second + n] +
        c * matrix[third + n] +
        d * matrix[fourth + n];
    }
  }
}

class Layer {
  constructor(units, kernel, recurrentKernel, bias) {
    Object.assign(this, { units, kernel, recurrentKernel, bias });
    this.h = new Float32Array(padded(units));
  }

  reset() {
    this.h.fill(0);
  }
}

class LongShortTermMemory extends Layer {
  constructor(units, ...weights) {
    super(units, ...weights);
    this.c = new Float32Array(units);
    this.gates = new Float32Array(this.bias.length); // i, f, c, o; a CIFG's i is 1 - f
  }

  reset() {
    super.reset();
    this.c.fill(0);
  }

  step(x) {
    const { units, gates, h, c } = this;
    gates.set(this.bias);
    addProduct(gates, x, this.kernel);
    addProduct(gates, h, this.recurrentKernel);
    const forget = gates.length - 3 * units;
    for (let u = 0; u < units; u++) {
      const f = sigmoid(gates[forget + u]);
      const i = forget ? sigmoid(gates[u]) : 1 - f;
      c[u] = f * c[u] + i * Math.tanh(gates[forget + units + u]);
      h[u] = sigmoid(gates[forget + 2 * units + u]) * Math.tanh(c[u]);
    }
    return h;
  }
}

class GatedRecurrentUnit extends Layer {
  constructor(units, ...weights) {
    super(units, ...weights);
    this.gates = new Float32Array(3 * units); // z, r, h
    this.recurrent = new Float32Array(3 * units);
  }

  step(x) {
    const { units, gates, recurrent, h, bias } = this;
    gates.set(bias.subarray(0, 3 * units));
    recurrent.set(bias.subarray(3 * units));
    addProduct(gates, x, this.kernel);
    addProduct(recurrent, h, this.recurrentKernel);
    for (let u = 0; u < units; u++) {
      const z = sigmoid(gates[u] + recurrent[u]);
      const r = sigmoid(gates[units + u] + recurrent[units + u]);
      const candidate = Math.tanh(gates[2 * units + u] + r * recurrent[2 * units + u]);
      h[u] = candidate + z * (h[u] - candidate);
    }
    return h;
  }
}

const LAYERS = { lstm: LongShortTermMemory, gru: GatedRecurrentUnit, cifg: LongShortTermMemory };

/** The same as KernelNetwork. */
class PlainNetwork {
  constructor({ cell, units, embedding, tie, vocabulary }, weights) {
    // `addProduct` reads rows of zeros below a matrix whose depth is no multiple of 4.
    const arrays = weights.read((count, [, columns = 0]) =>
      new Float32Array(count + 3 * columns).subarray(0, count),
    );
    const whole = (array) => new Float32Array(array.buffer);
    this.embedding = arrays[0];
    this.layers = units.map((size, i) => {
      const [kernel, recurrentKernel, bias] = arrays.slice(1 + 3 * i);
      return new LAYERS[cell](size, whole(kernel), whole(recurrentKernel), bias);
    });
    const [output, bias] = arrays.slice(-2);
    this.bias = bias;
    this.output = tie ? transposed(arrays[0], vocabulary, embedding) : whole(output);
    this.input = new Float32Array(padded(embedding));
    this.logits = new Float32Array(vocabulary);
  }

  reset() {
    for (const layer of this.layers) layer.reset();
  }

  step(token) {
    const { layers, embedding, input, logits } = this;
    const size = embedding.length / logits.length;
    input.set(embedding.subarray(token * size, (token + 1) * size));
    const output = layers.reduce((x, layer) => layer.step(x), input);
    logits.set(this.bias);
    addProduct(logits, output, this.output);
    return logits;
  }
}

/** Transpose a matrix, (rows, columns), and add rows of zeros. */
function transposed(matrix, rows, columns) {
  const result = new Float32Array(padded(columns) * rows);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) result[j * rows + i] = matrix[i * columns + j];
  }
  return result;
}
