/* A recurrent layer, forward over a chunk and back.
 *
 * Formulas: LSTM with forget gate after Gers, Schmidhuber and Cummins (2000); CIFG after Greff et
 * al. (2015); GRU after Cho et al. (2014), with the reset gate applied after the product, as in
 * cuDNN.
 */

#ifndef TEXTGEN_LAYERS_H
#define TEXTGEN_LAYERS_H

#include "workspace.h"

/* Pack a recurrent kernel in groups of the gates of LANES units, each in panels. */
static void pack_gates(const Layer *layer, size_t gates, element *to) {
    size_t U = layer->padded, stride = layer->recurrent.stride;
    for (size_t u = 0; u < U; u += LANES)
        for (size_t panel = 0; panel < gates; panel += COLUMNS)
            for (size_t k = 0; k < U; k += PAIR)
                for (size_t g = panel; g < smaller(panel + COLUMNS, gates); g++, to += LANES * PAIR)
                    store_words(to, layer->recurrent.data + k * stride + g * U + u, stride);
}

/* Multiply rows by such a group: the product is (rows, gates, LANES). */
INLINE void multiply_gates(int rows, size_t U, int gates, const element *left, size_t row,
                           const element *group, float *product) {
    for (int panel = 0; panel < gates; panel += COLUMNS) {
        int columns = gates - panel < COLUMNS ? gates - panel : COLUMNS;
        multiply_tile(rows, columns, left, row, DEEP, group + panel * LANES * U, U / DEEP,
                      product + panel * LANES, gates * LANES, 0);
    }
}

/* Return what the state of a row is multiplied by before a step: 0 where the state is set to zero.
 */
INLINE float kept(const TextBatch *batch, size_t row) {
    return batch->resets && batch->resets[row] ? 0.0f : 1.0f;
}

/* Run a layer over the chunk, from its first state, which `before` and `memory` begin with.
 *
 * The projected inputs are rows of the table, or else stand where the gates will be. The i of a
 * CIFG is not kept; its place stays free.
 */
INLINE void run_layer(const int cell, Work *work, Layer *layer, const Floats *table) {
    const TextBatch *batch = work->batch;
    const size_t gates = gate_count(cell), U = layer->padded, B = batch->rows;
    _Alignas(64) float sums[ROWS * 4 * LANES];
    pack_gates(layer, gates, work->packed);
    for (size_t first = 0; first < work->count; first += B)
        for (size_t u = 0; u < U; u += LANES)
            for (int t = 0; t < tile_count(B); t++) {
                size_t start = first + tile_start(B, t), end = first + tile_start(B, t + 1);
                const float *inputs[ROWS];
                for (size_t row = start; row < end; row++) {
                    const float *in = table ? table->data + batch->tokens[row] * table->stride
                                            : layer->gates.data + row * layer->gates.stride;
                    inputs[row - start] = in + u;
                    for (size_t g = 0; g < gates; g++) __builtin_prefetch(in + g * U + u);
                }
                multiply_gates((int)(end - start), U, gates,
                               layer->before.data + start * layer->before.stride,
                               layer->before.stride, work->packed + u * gates * U, sums);
                for (size_t row = start; row < end; row++) {
                    const float *in = inputs[row - start],
                                *z = sums + (row - start) * gates * LANES;
                    float *kept_gates = layer->gates.data + row * layer->gates.stride + u;
                    float *memory = layer->memory.data + row * layer->memory.stride + u;
                    vec before = load(memory) * kept(batch, row), after, out;
                    if (cell != GRU) {
                        vec x[4];
                        for (size_t g = 0; g < gates; g++)
                            x[4 - gates + g] = load(z + g * LANES) + load(in + g * U);
                        vec f = sigmoid(x[1]), i = cell == LSTM ? sigmoid(x[0]) : 1.0f - f;
                        vec g = hyperbolic_tangent(x[2]), o = sigmoid(x[3]);
                        after = f * before + i * g;
                        out = o * hyperbolic_tangent(after);
                        if (cell == LSTM) store(kept_gates, i);
                        store(kept_gates + U, f);
                        store(kept_gates + 2 * U, g), store(kept_gates + 3 * U, o);
                    } else {
                        const float *bias = layer->recurrent_bias + u;
                        vec product = load(z + 2 * LANES) + load(bias + 2 * U);
                        vec update = sigmoid(load(z) + load(bias) + load(in));
                        vec reset = sigmoid(load(z + LANES) + load(bias + U) + load(in + U));
                        vec new = hyperbolic_tangent(load(in + 2 * U) + reset * product);
                        out = after = update * before + (1.0f - update) * new;
                        store(kept_gates, update), store(kept_gates + U, reset);
                        store(kept_gates + 2 * U, new), store(kept_gates + 3 * U, product);
                    }
                    store(memory + B * layer->memory.stride, after);
                    if (row + B < work->count)
                        store_elements(layer->before.data + (row + B) * layer->before.stride + u,
                                       out * kept(batch, row + B));
                    else
                        store(layer->h_after + (row + B - work->count) * U + u, out);
                    if (batch->masks) out *= load(layer->mask + row % B * U + u);
                    store_elements(layer->outputs.data + row * layer->outputs.stride + u, out);
                }
            }
}

/* Run a layer back over the chunk: from the gradients of its outputs to those of its gates.
 *
 * The gates of a GRU have four gradients: those of z, r and h, and that of the product of h. Those
 * of a CIFG have three.
 */
INLINE void run_layer_back(const int cell, Work *work, Layer *layer, int by_table) {
    const TextBatch *batch = work->batch;
    const size_t U = layer->padded, B = batch->rows, stride = layer->d_gates.stride;
    const size_t skipped = cell == CIFG, depth = cell == GRU ? 2 * U : gate_count(cell) * U;
    _Alignas(64) float sums[ROWS * WIDTH];
    element *packed = work->packed, *packed_product = packed + packed_size(2 * U, U);
    pack_right_transposed(depth, U, layer->recurrent.data, layer->recurrent.stride, packed);
    if (cell == GRU)
        pack_right_transposed(U, U, layer->recurrent.data + 2 * U, layer->recurrent.stride,
                              packed_product);
    memset(layer->carried, 0, B * U * sizeof(float));
    for (size_t first = work->count; first; first -= B)
        for (size_t panel = 0; panel < U; panel += WIDTH)
            for (int t = 0; t < tile_count(B); t++) {
                size_t width = smaller(WIDTH, U - panel);
                size_t start = first - B + tile_start(B, t), end = first - B + tile_start(B, t + 1);
                for (size_t row = start; row < end; row++)
                    for (size_t u = panel; u < panel + width; u += 16) {
                        for (size_t g = skipped; g < 4; g++)
                            __builtin_prefetch(layer->gates.data + row * layer->gates.stride +
                                               g * U + u);
                        __builtin_prefetch(layer->memory.data + row * layer->memory.stride + u);
                        __builtin_prefetch(work->d_outputs.data + row * work->d_outputs.stride + u);
                    }
                if (first == work->count) {
                    memset(sums, 0, sizeof sums);
                } else {
                    const element *left = layer->d_gates.data + (start + B) * stride;
                    int rows = (int)(end - start), columns = (int)(width / LANES);
                    multiply_tile(rows, columns, left, stride, DEEP, packed + panel * depth,
                                  depth / DEEP, sums, WIDTH, 0);
                    if (cell == GRU)
                        multiply_tile(rows, columns, left + 3 * U, stride, DEEP,
                                      packed_product + panel * U, U / DEEP, sums, WIDTH, 1);
                }
                for (size_t row = start; row < end; row++)
                    for (size_t u = panel; u < panel + width; u += LANES) {
                        const float *gates = layer->gates.data + row * layer->gates.stride + u;
                        const float *memory = layer->memory.data + row * layer->memory.stride + u;
                        float *carried = layer->carried + row % B * U + u;
                        vec dh = load(sums + (row - start) * WIDTH + u - panel), d_gates[4];
                        if (row + B < work->count) dh *= kept(batch, row + B);
                        vec d_output =
                            load(work->d_outputs.data + row * work->d_outputs.stride + u);
                        if (batch->masks) d_output *= load(layer->mask + row % B * U + u);
                        dh += d_output;
                        vec before = load(memory) * kept(batch, row);
                        if (cell != GRU) {
                            vec f = load(gates + U), i = cell == LSTM ? load(gates) : 1.0f - f;
                            vec g = load(gates + 2 * U), o = load(gates + 3 * U);
                            vec bounded =
                                hyperbolic_tangent(load(memory + B * layer->memory.stride));
                            vec dc = load(carried) + dh * o * (1.0f - bounded * bounded);
                            store(carried, dc * f * kept(batch, row));
                            d_gates[0] = dc * g * i * (1.0f - i);
                            d_gates[1] = dc * (cell == LSTM ? before : before - g) * f * (1.0f - f);
                            d_gates[2] = dc * i * (1.0f - g * g);
                            d_gates[3] = dh * bounded * o * (1.0f - o);
                        } else {
                            vec update = load(gates), reset = load(gates + U),
                                new = load(gates + 2 * U);
                            vec product = load(gates + 3 * U);
                            dh += load(carried);
                            store(carried, dh * update * kept(batch, row));
                            d_gates[0] = dh * (before - new) * update * (1.0f - update);
                            d_gates[2] = dh * (1.0f - update) * (1.0f - new *new);
                            d_gates[1] = d_gates[2] * product * reset * (1.0f - reset);
                            d_gates[3] = d_gates[2] * reset;
                        }
                        size_t place = by_table ? (size_t)batch->tokens[row] : 0;
                        float *d_row = work->d_rows.data + place * 4 * U + u;
                        for (size_t g = 0; g < 4 - skipped; g++) {
                            vec d_gate = d_gates[skipped + g];
                            store_elements(layer->d_gates.data + row * stride + g * U + u, d_gate);
                            store(d_row + g * U, load(d_row + g * U) + d_gate);
                        }
                    }
            }
    zero_rows_after(layer->d_gates, work->count);
}

#endif
