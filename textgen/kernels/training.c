/* The loss of a network and its gradients, for some rows of a chunk.
 *
 * The forward pass keeps the gates and the state of every step. The backward pass computes the
 * gradients of the gates, step by step; those of the weights are then one product over all steps.
 */

#include "layers.h"

#include <math.h>

/* Multiply a layer's inputs by its kernel, and add its bias. */
static void project(Work *work, const Layer *layer, size_t rows, Matrix inputs, Floats projected) {
    size_t I = layer->inputs_padded, N = work->gates * layer->padded;
    pack_right(I, N, layer->kernel.data, layer->kernel.stride, work->packed);
    multiply(rows, I, N, inputs.data, inputs.stride, work->packed, projected.data, projected.stride,
             0);
    for (size_t r = 0; r < rows; r++)
        for (size_t n = 0; n < N; n += LANES) {
            float *place = projected.data + r * projected.stride + n;
            store(place, load(place) + load(layer->bias + n));
        }
}

static void run_layers(Work *work, const float *const *states, float *const *states_after) {
    const Network *network = work->network;
    const TextBatch *batch = work->batch;
    size_t B = batch->rows;
    if (!work->by_table) {
        for (size_t row = 0; row < work->count; row++)
            memcpy(work->embedded.data + row * work->embedded.stride,
                   work->embedding.data + batch->tokens[row] * work->embedding.stride,
                   work->embedding.stride * sizeof(element));
        zero_rows_after(work->embedded, work->count);
    }
    for (int l = 0; l < network->layers; l++) {
        Layer *layer = &work->layers[l];
        size_t U = layer->units, padded = layer->padded;
        if (batch->masks) copy_padded(layer->mask, batch->masks[l], B, U, padded);
        for (size_t b = 0; b < B; b++) {
            const float *h = *states + b * U,
                        *memory = network->cell == GRU ? h : states[1] + b * U;
            float padded_h[LANES];
            copy_padded(layer->memory.data + b * layer->memory.stride, memory, 1, U, padded);
            for (size_t u = 0; u < padded; u += LANES) {
                copy_padded(padded_h, h + u, 1, u < U ? smaller(LANES, U - u) : 0, LANES);
                store_elements(layer->before.data + b * layer->before.stride + u,
                               load(padded_h) * kept(batch, b));
            }
        }
        zero_rows_after(layer->before, work->count);
        zero_rows_after(layer->outputs, work->count);
        const Floats *table = l == 0 && work->by_table ? &work->table : NULL;
        if (table)
            project(work, layer, network->vocabulary, work->embedding, work->table);
        else
            project(work, layer, work->count, l ? work->layers[l - 1].outputs : work->embedded,
                    layer->gates);
        switch (network->cell) {
            case LSTM: run_layer(LSTM, work, layer, table); break;
            case GRU: run_layer(GRU, work, layer, table); break;
            case CIFG: run_layer(CIFG, work, layer, table); break;
        }
        copy_cut(*states_after++, layer->h_after, B, U, padded);
        states++;
        if (network->cell != GRU) {
            for (size_t b = 0; b < B; b++)
                copy_cut(*states_after + b * U,
                         layer->memory.data + (work->count + b) * layer->memory.stride, 1, U,
                         padded);
            states_after++, states++;
        }
    }
}

/* The output layer */

/* Return the loss of a row; make its logits, (C,), their gradients, and add those to the bias's. */
static double cross_entropy(float *logits, size_t C, const float *bias, int target, float *d_bias,
                            element *d_logits) {
    size_t padded = round_up(C, ALIGNMENT);
    for (size_t c = 0; c < padded; c += LANES) store(logits + c, load(logits + c) + load(bias + c));
    float own = logits[target];
    for (size_t c = C; c < padded; c++) logits[c] = -INFINITY;
    vec most = load(logits), sums = {0};
    for (size_t c = LANES; c < padded; c += LANES) most = larger(load(logits + c), most);
    float largest = largest_of(most);
    for (size_t c = 0; c < padded; c += LANES) {
        vec power = exponential(load(logits + c) - largest);
        store(logits + c, power);
        sums += power;
    }
    float total = sum_of(sums), scale = 1 / total;
    if (d_bias) {
        for (size_t c = 0; c < padded; c += LANES) store(logits + c, load(logits + c) * scale);
        logits[target] -= 1;
        for (size_t c = C; c < padded; c++) logits[c] = 0;
        for (size_t c = 0; c < padded; c += LANES) {
            store(d_bias + c, load(d_bias + c) + load(logits + c));
            store_elements(d_logits + c, load(logits + c));
        }
    }
    return log(total) + largest - own;
}

/* Return where to compute a gradient: in its place, if it needs no padding. */
static float *place_of(const Work *work, float *gradient, int padded) {
    return padded ? work->product.data : gradient;
}

/* Copy a gradient of `rows` rows, each of blocks of columns, without its padding, to its place. */
static void store_gradient(const float *from, float *to, size_t rows, size_t blocks, size_t columns,
                           size_t padded, size_t stride) {
    if (from == to) return;
    for (size_t r = 0; r < rows; r++, to += blocks * columns)
        for (size_t b = 0; b < blocks; b++)
            memcpy(to + b * columns, from + r * stride + b * padded, columns * sizeof(float));
}

/* Compute the loss, and the gradients of the output layer and of what it reads. */
static double output_layer(Work *work, float *d_kernel, float *d_bias) {
    const Network *network = work->network;
    const TextBatch *batch = work->batch;
    const Layer *last = &work->layers[network->layers - 1];
    size_t C = network->outputs, U = last->padded, wide = round_up(C, ALIGNMENT);
    Matrix output = work->output, hidden = last->outputs, d_logits = work->d_logits;
    double loss = 0;
    float *product =
        place_of(work, d_kernel, last->units < U || (!network->transposed && C < wide));
    if (network->transposed)
        pack_right_transposed(U, C, output.data, output.stride, work->packed);
    else
        pack_right(U, C, output.data, output.stride, work->packed);
    if (d_kernel) {
        memset(work->d_output_bias, 0, wide * sizeof(float));
        if (network->transposed)
            pack_right(C, U, output.data, output.stride, work->packed_back);
        else
            pack_right_transposed(C, U, output.data, output.stride, work->packed_back);
    }
    for (size_t first = 0; first < work->count; first += work->at_once) {
        size_t rows = smaller(work->at_once, work->count - first);
        const element *inputs = hidden.data + first * hidden.stride;
        multiply(rows, U, C, inputs, hidden.stride, work->packed, work->logits.data,
                 work->logits.stride, 0);
        for (size_t r = 0; r < rows; r++) {
            element *d_row = d_kernel ? d_logits.data + r * d_logits.stride : NULL;
            if (batch->counts[first + r])
                loss += cross_entropy(work->logits.data + r * work->logits.stride, C,
                                      work->output_bias, batch->targets[first + r],
                                      d_row ? work->d_output_bias : NULL, d_row);
            else if (d_row)
                memset(d_row, 0, wide * sizeof(element));
        }
        if (!d_kernel) continue;
        zero_rows_after(d_logits, rows);
        multiply(rows, C, U, d_logits.data, d_logits.stride, work->packed_back,
                 work->d_outputs.data + first * work->d_outputs.stride, work->d_outputs.stride, 0);
        size_t tall = network->transposed ? C : U, across = network->transposed ? U : wide;
        Matrix left = network->transposed ? d_logits : (Matrix){(element *)inputs, hidden.stride};
        Matrix right = network->transposed ? (Matrix){(element *)inputs, hidden.stride} : d_logits;
        multiply_transposed(tall, rows, across, left.data, left.stride, right.data, right.stride,
                            product, across, first > 0, work->scratch);
    }
    if (d_kernel) {
        if (network->transposed)
            store_gradient(product, d_kernel, C, 1, last->units, U, U);
        else
            store_gradient(product, d_kernel, last->units, 1, C, wide, wide);
        memcpy(d_bias, work->d_output_bias, C * sizeof(float));
    }
    return loss;
}

/* Compute the gradients of a layer's weights, given those of its gates; and of its inputs. */
static void layer_gradients(Work *work, int number, float *d_kernel, float *d_recurrent,
                            float *d_bias, float *d_embedding) {
    Layer *layer = &work->layers[number];
    const Network *network = work->network;
    size_t U = layer->padded, I = layer->inputs_padded, gates = work->gates, N = gates * U,
           units = layer->units;
    Matrix before = layer->before, d_gates = layer->d_gates;
    float *product = place_of(work, d_recurrent, units < U);
    size_t first = network->cell == GRU ? 2 * U : N;
    multiply_transposed(U, work->count, first, before.data, before.stride, d_gates.data,
                        d_gates.stride, product, N, 0, work->scratch);
    if (network->cell == GRU)
        multiply_transposed(U, work->count, U, before.data, before.stride, d_gates.data + 3 * U,
                            d_gates.stride, product + 2 * U, N, 0, work->scratch);
    store_gradient(product, d_recurrent, units, gates, units, U, N);

    int by_table = number == 0 && work->by_table;
    size_t rows = by_table ? (size_t)network->vocabulary : work->count;
    Matrix inputs = number     ? work->layers[number - 1].outputs
                    : by_table ? work->embedding
                               : work->embedded;
    Matrix d_projected = d_gates;
    if (by_table) {
        d_projected = work->d_table;
        for (size_t v = 0; v < rows; v++)
            to_elements(d_projected.data + v * d_projected.stride, work->d_rows.data + v * 4 * U,
                        4 * U);
        zero_rows_after(d_projected, rows);
    }
    product = place_of(work, d_kernel, units < U || layer->inputs < I);
    multiply_transposed(I, rows, N, inputs.data, inputs.stride, d_projected.data,
                        d_projected.stride, product, N, 0, work->scratch);
    store_gradient(product, d_kernel, layer->inputs, gates, units, U, N);

    for (size_t v = 1; v < (by_table ? rows : 1); v++)
        for (size_t n = 0; n < 4 * U; n += LANES)
            store(work->d_rows.data + n,
                  load(work->d_rows.data + n) + load(work->d_rows.data + v * 4 * U + n));
    copy_cut(d_bias, work->d_rows.data, gates, units, U);
    if (network->cell == GRU) {
        copy_cut(d_bias + gates * units, work->d_rows.data, 2, units, U);
        copy_cut(d_bias + (gates + 2) * units, work->d_rows.data + 3 * U, 1, units, U);
    }

    pack_right_transposed(N, I, layer->kernel.data, layer->kernel.stride, work->packed);
    if (number) {
        multiply(rows, N, I, d_projected.data, d_projected.stride, work->packed,
                 work->d_outputs.data, work->d_outputs.stride, 0);
        return;
    }
    size_t E = network->embedding,
           stride = by_table ? round_up(E, ALIGNMENT) : work->d_outputs.stride;
    float *d_inputs = by_table ? work->product.data : work->d_outputs.data;
    multiply(rows, N, E, d_projected.data, d_projected.stride, work->packed, d_inputs, stride, 0);
    if (by_table) {
        for (size_t v = 0; v < rows; v++)
            memcpy(d_embedding + v * E, d_inputs + v * stride, E * sizeof(float));
        return;
    }
    memset(d_embedding, 0, network->vocabulary * E * sizeof(float));
    for (size_t row = 0; row < rows; row++) {
        float *to = d_embedding + work->batch->tokens[row] * E;
        for (size_t e = 0; e < E; e++) to[e] += d_inputs[row * stride + e];
    }
}

double textgen_loss(const Network *network, const TextBatch *batch, const float *const *weights,
                    const float *const *states, float *const *states_after, float *const *gradients,
                    void *workspace) {
    Layer layers[network->layers];
    Work work;
    plan(&work, layers, network, batch, gradients != NULL, workspace);
    read_weights(&work, weights);
    run_layers(&work, states, states_after);
    int last = 1 + 3 * network->layers;
    double loss = output_layer(&work, gradients ? gradients[last] : NULL,
                               gradients ? gradients[last + 1] : NULL);
    for (int l = network->layers - 1; gradients && l >= 0; l--) {
        Layer *layer = &work.layers[l];
        int by_table = l == 0 && work.by_table;
        memset(work.d_rows.data, 0,
               (by_table ? network->vocabulary : 1) * 4 * layer->padded * sizeof(float));
        switch (network->cell) {
            case LSTM: run_layer_back(LSTM, &work, layer, by_table); break;
            case GRU: run_layer_back(GRU, &work, layer, by_table); break;
            case CIFG: run_layer_back(CIFG, &work, layer, by_table); break;
        }
        layer_gradients(&work, l, gradients[1 + 3 * l], gradients[2 + 3 * l], gradients[3 + 3 * l],
                        gradients[0]);
    }
    configure_tiles(0);
    return loss;
}

size_t textgen_workspace(const Network *network, const TextBatch *batch, int gradients) {
    Layer layers[network->layers];
    Work work;
    plan(&work, layers, network, batch, gradients, NULL);
    return work.bytes;
}
