/* The loss of a network and its gradients, for some rows of a chunk.
 *
 * The forward pass keeps the gates and the state of every step. The backward pass computes the
 * gradients of the gates, step by step; those of the weights are then one product over all steps.
 * Formulas: LSTM with forget gate after Gers, Schmidhuber and Cummins (2000); GRU after Cho et al.
 * (2014), with the reset gate applied after the product, as in cuDNN.
 *
 * Units are padded to a multiple of LANES. The weights of a padded unit are zero, so its output and
 * its gradients are zero.
 */

#include "network.h"
#include "products.h"

#include <math.h>

#define PADDING 16               /* floats that keep rows from falling into the same sets of the cache */
#define LARGEST_LOGITS (1 << 24) /* in memory at once */
#define MOST_LAYERS 64

typedef struct {
    element *data;
    size_t stride;
} Matrix;

typedef struct {
    float *data;
    size_t stride;
} Floats;

typedef struct {
    size_t units, padded;               /* U, and rounded up */
    size_t inputs, inputs_padded;       /* the same of the layer below, or E */
    Matrix kernel, recurrent;           /* (inputs, gates U), (U, gates U) */
    float *bias, *recurrent_bias;       /* (gates U) each; the second of a GRU alone */
    Matrix before;                      /* (T B, U): h before each step */
    Matrix outputs;                     /* (T B, U): h after each step, times the dropout mask */
    Floats memory;                      /* ((T + 1) B, U): c of an LSTM, h of a GRU */
    Floats gates;                       /* (T B, 4 U): i, f, c, o, or z, r, h, and the product of h */
    float *mask;                        /* (B, U) */
    float *h_after;                     /* (B, U) */
    Matrix d_gates;                     /* (T B, 4 U) */
    float *carried;                     /* (B, U): the gradient that the memory carries back */
} Layer;

typedef struct {
    const Network *network;
    const TextBatch *batch;
    size_t gates, count;                /* of a layer: 4 or 3; T B */
    int by_table;                       /* whether the first layer's projection of each token is looked up */
    Layer layers[MOST_LAYERS];
    Matrix embedding, embedded;         /* (V, E), (T B, E) */
    Floats table;                       /* (V, gates U): projections of the tokens */
    Matrix output;                      /* (U, C) or (C, U) */
    float *output_bias;
    size_t at_once;                     /* rows of logits */
    Floats logits;
    Matrix d_logits;
    Floats d_outputs;                   /* (T B, U): of the layer at work */
    Floats d_rows;                      /* (V, 4 U) or (1, 4 U): of the projections, or of the bias */
    Matrix d_table;
    Floats product;                     /* a gradient before it is cut to its shape */
    float *d_output_bias;
    element *packed, *packed_back;      /* right factors */
    element *scratch;
    size_t bytes;
} Work;

/* Memory */

static void *take(Work *work, char *base, size_t bytes) {
    void *place = base + work->bytes;
    work->bytes += round_up(bytes, 64) + 64;
    return place;
}

static Matrix take_matrix(Work *work, char *base, size_t rows, size_t columns, size_t padding) {
    size_t stride = round_up(columns, ALIGNMENT) + padding * PAIR;
    return (Matrix){take(work, base, round_up(rows, DEEP) * stride * sizeof(element)), stride};
}

static Floats take_floats(Work *work, char *base, size_t rows, size_t columns, size_t padding) {
    size_t stride = round_up(columns, ALIGNMENT) + padding;
    return (Floats){take(work, base, rows * stride * sizeof(float)), stride};
}

/* Lay out the memory from `base`, which may be null, and count it. */
static void plan(Work *work, const Network *network, const TextBatch *batch, int gradients, char *base) {
    size_t rows = batch->rows, count = (size_t)batch->steps * rows;
    size_t E = network->embedding, V = network->vocabulary, C = network->outputs;
    *work = (Work){.network = network, .batch = batch, .gates = network->cell == LSTM ? 4 : 3, .count = count};
    size_t gates = work->gates, widest = 0, largest = 0, deepest = E;
    work->by_table = V <= count;
    work->embedding = take_matrix(work, base, V, E, 0);
    for (int l = 0; l < network->layers; l++) {
        Layer *layer = &work->layers[l];
        layer->units = network->units[l];
        layer->padded = round_up(layer->units, ALIGNMENT);
        layer->inputs = l ? work->layers[l - 1].units : E;
        layer->inputs_padded = l ? work->layers[l - 1].padded : E;
        size_t U = layer->padded, I = layer->inputs_padded;
        layer->kernel = take_matrix(work, base, I, gates * U, 0);
        layer->recurrent = take_matrix(work, base, U, gates * U, 0);
        layer->bias = take(work, base, gates * U * sizeof(float));
        layer->recurrent_bias = take(work, base, gates * U * sizeof(float));
        layer->before = take_matrix(work, base, count, U, PADDING);
        layer->outputs = take_matrix(work, base, count, U, PADDING);
        layer->memory = take_floats(work, base, count + rows, U, PADDING);
        layer->gates = take_floats(work, base, count, 4 * U, PADDING);
        layer->mask = take(work, base, rows * U * sizeof(float));
        layer->h_after = take(work, base, rows * U * sizeof(float));
        if (gradients) {
            layer->d_gates = take_matrix(work, base, count, 4 * U, PADDING);
            layer->carried = take(work, base, rows * U * sizeof(float));
        }
        widest = U > widest ? U : widest;
        deepest = I > deepest ? I : deepest;
        size_t size = packed_size(I > U ? I : U, gates * U);
        largest = size > largest ? size : largest;
    }
    Layer *last = &work->layers[network->layers - 1];
    deepest = widest > deepest ? widest : deepest;
    work->output = network->transposed ? take_matrix(work, base, C, last->padded, 0)
                                       : take_matrix(work, base, last->padded, C, 0);
    work->output_bias = take(work, base, round_up(C, ALIGNMENT) * sizeof(float));
    work->at_once = smaller(count, LARGEST_LOGITS / C + 1);
    work->logits = take_floats(work, base, work->at_once, C, PADDING);
    work->d_logits = take_matrix(work, base, work->at_once, C, PADDING);
    size_t across = packed_size(last->padded, C);
    if (work->by_table) {
        work->table = take_floats(work, base, V, gates * work->layers[0].padded, 0);
    } else {
        work->embedded = take_matrix(work, base, count, E, PADDING);
    }
    if (gradients) {
        size_t tall = C > V ? C : V, table = work->by_table ? V : 1;
        work->d_outputs = take_floats(work, base, count, deepest, PADDING);
        work->d_rows = take_floats(work, base, table, 4 * widest, 0);
        if (work->by_table) work->d_table = take_matrix(work, base, V, 4 * work->layers[0].padded, 0);
        size_t product = round_up(tall, ALIGNMENT) * round_up(deepest, ALIGNMENT), kernel = deepest * 4 * widest;
        work->product.data = take(work, base, (product > kernel ? product : kernel) * sizeof(float));
        size_t longest = deepest > tall ? deepest : tall;
        work->scratch = take(work, base, transposed_scratch(longest) * sizeof(element));
        work->d_output_bias = take(work, base, round_up(C, ALIGNMENT) * sizeof(float));
        work->packed_back = take(work, base, packed_size(C, last->padded) * sizeof(element));
        size_t below = packed_size(4 * widest, deepest);
        largest = below > largest ? below : largest;
    }
    work->packed = take(work, base, (across > largest ? across : largest) * sizeof(element));
}

/* Fill a matrix of `rows` rows, each of `blocks` blocks of `columns` numbers, which it pads.
 *
 * Without padding and rounding, it is the weights themselves.
 */
static void fill(Matrix *matrix, const float *from, size_t rows, size_t all_rows, size_t blocks, size_t columns,
                 size_t padded) {
    if (PAIR == 1 && columns == padded && blocks * columns == matrix->stride && rows == all_rows) {
        matrix->data = (element *)from;
        return;
    }
    memset(matrix->data + rows * matrix->stride, 0, (round_up(all_rows, DEEP) - rows) * matrix->stride * sizeof(element));
    for (size_t r = 0; r < rows; r++) {
        element *to = matrix->data + r * matrix->stride, *end = to + matrix->stride;
        for (size_t b = 0; b < blocks; b++, from += columns, to += padded) {
            to_elements(to, from, columns);
            memset(to + columns, 0, (padded - columns) * sizeof(element));
        }
        memset(to, 0, (end - to) * sizeof(element));
    }
}

/* Copy rows of `blocks` blocks of numbers; pad each block with zeros, or cut its padding off. */
static void copy_padded(float *to, const float *from, size_t rows, size_t columns, size_t padded) {
    for (size_t r = 0; r < rows; r++, to += padded, from += columns) {
        memcpy(to, from, columns * sizeof(float));
        memset(to + columns, 0, (padded - columns) * sizeof(float));
    }
}

static void copy_cut(float *to, const float *from, size_t rows, size_t columns, size_t padded) {
    for (size_t r = 0; r < rows; r++, to += columns, from += padded) memcpy(to, from, columns * sizeof(float));
}

static void zero_rows_after(Matrix matrix, size_t rows) {
    memset(matrix.data + rows * matrix.stride, 0, (round_up(rows, DEEP) - rows) * matrix.stride * sizeof(element));
}

/* Weights: embedding; kernel, recurrent kernel and bias of each layer; output kernel and bias. */

static void read_weights(Work *work, const float *const *weights) {
    const Network *network = work->network;
    size_t gates = work->gates, E = network->embedding, C = network->outputs;
    fill(&work->embedding, *weights++, network->vocabulary, network->vocabulary, 1, E, E);
    for (int l = 0; l < network->layers; l++) {
        Layer *layer = &work->layers[l];
        size_t U = layer->units, padded = layer->padded;
        fill(&layer->kernel, *weights++, layer->inputs, layer->inputs_padded, gates, U, padded);
        fill(&layer->recurrent, *weights++, U, padded, gates, U, padded);
        copy_padded(layer->bias, *weights, gates, U, padded);
        if (network->cell == GRU) copy_padded(layer->recurrent_bias, *weights + gates * U, gates, U, padded);
        weights++;
    }
    const Layer *last = &work->layers[network->layers - 1];
    if (network->transposed)
        fill(&work->output, *weights++, C, C, 1, last->units, last->padded);
    else
        fill(&work->output, *weights++, last->units, last->padded, 1, C, C);
    copy_padded(work->output_bias, *weights, 1, C, round_up(C, ALIGNMENT));
}

/* Forward */

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
INLINE void multiply_gates(int rows, size_t U, int gates, const element *left, size_t row, const element *group,
                           float *product) {
    for (int panel = 0; panel < gates; panel += COLUMNS) {
        int columns = gates - panel < COLUMNS ? gates - panel : COLUMNS;
        multiply_tile(rows, columns, left, row, DEEP, group + panel * LANES * U, U / DEEP, product + panel * LANES,
                      gates * LANES, 0);
    }
}

/* Return what the state of a row is multiplied by before a step: 0 where the state is set to zero. */
INLINE float kept(const TextBatch *batch, size_t row) { return batch->resets && batch->resets[row] ? 0.0f : 1.0f; }

/* Run a layer over the chunk, from its first state, which `before` and `memory` begin with.
 *
 * The projected inputs are rows of the table, or else stand where the gates will be.
 */
INLINE void run_layer(const int cell, Work *work, Layer *layer, const Floats *table) {
    const TextBatch *batch = work->batch;
    const size_t gates = cell == LSTM ? 4 : 3, U = layer->padded, B = batch->rows;
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
                multiply_gates((int)(end - start), U, gates, layer->before.data + start * layer->before.stride,
                               layer->before.stride, work->packed + u * gates * U, sums);
                for (size_t row = start; row < end; row++) {
                    const float *in = inputs[row - start], *z = sums + (row - start) * gates * LANES;
                    float *kept_gates = layer->gates.data + row * layer->gates.stride + u;
                    float *memory = layer->memory.data + row * layer->memory.stride + u;
                    vec before = load(memory) * kept(batch, row), after, out;
                    if (cell == LSTM) {
                        vec i = sigmoid(load(z) + load(in)), f = sigmoid(load(z + LANES) + load(in + U));
                        vec g = hyperbolic_tangent(load(z + 2 * LANES) + load(in + 2 * U));
                        vec o = sigmoid(load(z + 3 * LANES) + load(in + 3 * U));
                        after = f * before + i * g;
                        out = o * hyperbolic_tangent(after);
                        store(kept_gates, i), store(kept_gates + U, f);
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

/* Multiply a layer's inputs by its kernel, and add its bias. */
static void project(Work *work, const Layer *layer, size_t rows, Matrix inputs, Floats projected) {
    size_t I = layer->inputs_padded, N = work->gates * layer->padded;
    pack_right(I, N, layer->kernel.data, layer->kernel.stride, work->packed);
    multiply(rows, I, N, inputs.data, inputs.stride, work->packed, projected.data, projected.stride, 0);
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
            const float *h = *states + b * U, *memory = network->cell == LSTM ? states[1] + b * U : h;
            float padded_h[LANES];
            copy_padded(layer->memory.data + b * layer->memory.stride, memory, 1, U, padded);
            for (size_t u = 0; u < padded; u += LANES) {
                copy_padded(padded_h, h + u, 1, u < U ? smaller(LANES, U - u) : 0, LANES);
                store_elements(layer->before.data + b * layer->before.stride + u, load(padded_h) * kept(batch, b));
            }
        }
        zero_rows_after(layer->before, work->count);
        zero_rows_after(layer->outputs, work->count);
        const Floats *table = l == 0 && work->by_table ? &work->table : NULL;
        if (table)
            project(work, layer, network->vocabulary, work->embedding, work->table);
        else
            project(work, layer, work->count, l ? work->layers[l - 1].outputs : work->embedded, layer->gates);
        if (network->cell == LSTM)
            run_layer(LSTM, work, layer, table);
        else
            run_layer(GRU, work, layer, table);
        copy_cut(*states_after++, layer->h_after, B, U, padded);
        states++;
        if (network->cell == LSTM) {
            for (size_t b = 0; b < B; b++)
                copy_cut(*states_after + b * U, layer->memory.data + (work->count + b) * layer->memory.stride, 1, U, padded);
            states_after++, states++;
        }
    }
}

/* The output layer */

/* Return the loss of a row; make its logits, (C,), their gradients, and add those to the bias's. */
static double cross_entropy(float *logits, size_t C, const float *bias, int target, float *d_bias, element *d_logits) {
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
static float *place_of(const Work *work, float *gradient, int padded) { return padded ? work->product.data : gradient; }

/* Copy a gradient of `rows` rows, each of blocks of columns, without its padding, to its place. */
static void store_gradient(const float *from, float *to, size_t rows, size_t blocks, size_t columns, size_t padded,
                           size_t stride) {
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
    float *product = place_of(work, d_kernel, last->units < U || (!network->transposed && C < wide));
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
        multiply(rows, U, C, inputs, hidden.stride, work->packed, work->logits.data, work->logits.stride, 0);
        for (size_t r = 0; r < rows; r++) {
            element *d_row = d_kernel ? d_logits.data + r * d_logits.stride : NULL;
            if (batch->counts[first + r])
                loss += cross_entropy(work->logits.data + r * work->logits.stride, C, work->output_bias,
                                      batch->targets[first + r], d_row ? work->d_output_bias : NULL, d_row);
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
        multiply_transposed(tall, rows, across, left.data, left.stride, right.data, right.stride, product, across,
                            first > 0, work->scratch);
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

/* Backward */

/* Run a layer back over the chunk: from the gradients of its outputs to those of its gates.
 *
 * The gates of a GRU have four gradients: those of z, r and h, and that of the product of h.
 */
INLINE void run_layer_back(const int cell, Work *work, Layer *layer, int by_table) {
    const TextBatch *batch = work->batch;
    const size_t U = layer->padded, B = batch->rows, stride = layer->d_gates.stride;
    _Alignas(64) float sums[ROWS * WIDTH];
    element *packed = work->packed, *packed_product = packed + packed_size(2 * U, U);
    if (cell == LSTM) {
        pack_right_transposed(4 * U, U, layer->recurrent.data, layer->recurrent.stride, packed);
    } else {
        pack_right_transposed(2 * U, U, layer->recurrent.data, layer->recurrent.stride, packed);
        pack_right_transposed(U, U, layer->recurrent.data + 2 * U, layer->recurrent.stride, packed_product);
    }
    memset(layer->carried, 0, B * U * sizeof(float));
    for (size_t first = work->count; first; first -= B)
        for (size_t panel = 0; panel < U; panel += WIDTH)
            for (int t = 0; t < tile_count(B); t++) {
                size_t width = smaller(WIDTH, U - panel);
                size_t start = first - B + tile_start(B, t), end = first - B + tile_start(B, t + 1);
                for (size_t row = start; row < end; row++)
                    for (size_t u = panel; u < panel + width; u += 16) {
                        for (size_t g = 0; g < 4; g++)
                            __builtin_prefetch(layer->gates.data + row * layer->gates.stride + g * U + u);
                        __builtin_prefetch(layer->memory.data + row * layer->memory.stride + u);
                        __builtin_prefetch(work->d_outputs.data + row * work->d_outputs.stride + u);
                    }
                if (first == work->count) {
                    memset(sums, 0, sizeof sums);
                } else {
                    const element *left = layer->d_gates.data + (start + B) * stride;
                    int rows = (int)(end - start), columns = (int)(width / LANES);
                    size_t depth = cell == LSTM ? 4 * U : 2 * U;
                    multiply_tile(rows, columns, left, stride, DEEP, packed + panel * depth, depth / DEEP, sums, WIDTH, 0);
                    if (cell == GRU)
                        multiply_tile(rows, columns, left + 3 * U, stride, DEEP, packed_product + panel * U, U / DEEP,
                                      sums, WIDTH, 1);
                }
                for (size_t row = start; row < end; row++)
                    for (size_t u = panel; u < panel + width; u += LANES) {
                        const float *gates = layer->gates.data + row * layer->gates.stride + u;
                        const float *memory = layer->memory.data + row * layer->memory.stride + u;
                        float *carried = layer->carried + row % B * U + u;
                        vec dh = load(sums + (row - start) * WIDTH + u - panel), d_gates[4];
                        if (row + B < work->count) dh *= kept(batch, row + B);
                        vec d_output = load(work->d_outputs.data + row * work->d_outputs.stride + u);
                        if (batch->masks) d_output *= load(layer->mask + row % B * U + u);
                        dh += d_output;
                        vec before = load(memory) * kept(batch, row);
                        if (cell == LSTM) {
                            vec i = load(gates), f = load(gates + U), g = load(gates + 2 * U), o = load(gates + 3 * U);
                            vec bounded = hyperbolic_tangent(load(memory + B * layer->memory.stride));
                            vec dc = load(carried) + dh * o * (1.0f - bounded * bounded);
                            store(carried, dc * f * kept(batch, row));
                            d_gates[0] = dc * g * i * (1.0f - i);
                            d_gates[1] = dc * before * f * (1.0f - f);
                            d_gates[2] = dc * i * (1.0f - g * g);
                            d_gates[3] = dh * bounded * o * (1.0f - o);
                        } else {
                            vec update = load(gates), reset = load(gates + U), new = load(gates + 2 * U);
                            vec product = load(gates + 3 * U);
                            dh += load(carried);
                            store(carried, dh * update * kept(batch, row));
                            d_gates[0] = dh * (before - new) * update * (1.0f - update);
                            d_gates[2] = dh * (1.0f - update) * (1.0f - new * new);
                            d_gates[1] = d_gates[2] * product * reset * (1.0f - reset);
                            d_gates[3] = d_gates[2] * reset;
                        }
                        size_t place = by_table ? (size_t)batch->tokens[row] : 0;
                        float *d_row = work->d_rows.data + place * 4 * U + u;
                        for (size_t g = 0; g < 4; g++) {
                            store_elements(layer->d_gates.data + row * stride + g * U + u, d_gates[g]);
                            store(d_row + g * U, load(d_row + g * U) + d_gates[g]);
                        }
                    }
            }
    zero_rows_after(layer->d_gates, work->count);
}

/* Compute the gradients of a layer's weights, given those of its gates; and of its inputs. */
static void layer_gradients(Work *work, int number, float *d_kernel, float *d_recurrent, float *d_bias,
                            float *d_embedding) {
    Layer *layer = &work->layers[number];
    const Network *network = work->network;
    size_t U = layer->padded, I = layer->inputs_padded, gates = work->gates, N = gates * U, units = layer->units;
    Matrix before = layer->before, d_gates = layer->d_gates;
    float *product = place_of(work, d_recurrent, units < U);
    size_t first = network->cell == LSTM ? 4 * U : 2 * U;
    multiply_transposed(U, work->count, first, before.data, before.stride, d_gates.data, d_gates.stride, product, N, 0,
                        work->scratch);
    if (network->cell == GRU)
        multiply_transposed(U, work->count, U, before.data, before.stride, d_gates.data + 3 * U, d_gates.stride,
                            product + 2 * U, N, 0, work->scratch);
    store_gradient(product, d_recurrent, units, gates, units, U, N);

    int by_table = number == 0 && work->by_table;
    size_t rows = by_table ? (size_t)network->vocabulary : work->count;
    Matrix inputs = number ? work->layers[number - 1].outputs : by_table ? work->embedding : work->embedded;
    Matrix d_projected = d_gates;
    if (by_table) {
        d_projected = work->d_table;
        for (size_t v = 0; v < rows; v++)
            to_elements(d_projected.data + v * d_projected.stride, work->d_rows.data + v * 4 * U, 4 * U);
        zero_rows_after(d_projected, rows);
    }
    product = place_of(work, d_kernel, units < U || layer->inputs < I);
    multiply_transposed(I, rows, N, inputs.data, inputs.stride, d_projected.data, d_projected.stride, product, N, 0,
                        work->scratch);
    store_gradient(product, d_kernel, layer->inputs, gates, units, U, N);

    for (size_t v = 1; v < (by_table ? rows : 1); v++)
        for (size_t n = 0; n < 4 * U; n += LANES)
            store(work->d_rows.data + n, load(work->d_rows.data + n) + load(work->d_rows.data + v * 4 * U + n));
    copy_cut(d_bias, work->d_rows.data, gates, units, U);
    if (network->cell == GRU) {
        copy_cut(d_bias + gates * units, work->d_rows.data, 2, units, U);
        copy_cut(d_bias + (gates + 2) * units, work->d_rows.data + 3 * U, 1, units, U);
    }

    pack_right_transposed(N, I, layer->kernel.data, layer->kernel.stride, work->packed);
    if (number) {
        multiply(rows, N, I, d_projected.data, d_projected.stride, work->packed, work->d_outputs.data,
                 work->d_outputs.stride, 0);
        return;
    }
    size_t E = network->embedding, stride = by_table ? round_up(E, ALIGNMENT) : work->d_outputs.stride;
    float *d_inputs = by_table ? work->product.data : work->d_outputs.data;
    multiply(rows, N, E, d_projected.data, d_projected.stride, work->packed, d_inputs, stride, 0);
    if (by_table) {
        for (size_t v = 0; v < rows; v++) memcpy(d_embedding + v * E, d_inputs + v * stride, E * sizeof(float));
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
    Work work;
    plan(&work, network, batch, gradients != NULL, workspace);
    read_weights(&work, weights);
    run_layers(&work, states, states_after);
    int last = 1 + 3 * network->layers;
    double loss = output_layer(&work, gradients ? gradients[last] : NULL, gradients ? gradients[last + 1] : NULL);
    for (int l = network->layers - 1; gradients && l >= 0; l--) {
        Layer *layer = &work.layers[l];
        int by_table = l == 0 && work.by_table;
        memset(work.d_rows.data, 0, (by_table ? network->vocabulary : 1) * 4 * layer->padded * sizeof(float));
        if (network->cell == LSTM)
            run_layer_back(LSTM, &work, layer, by_table);
        else
            run_layer_back(GRU, &work, layer, by_table);
        layer_gradients(&work, l, gradients[1 + 3 * l], gradients[2 + 3 * l], gradients[3 + 3 * l], gradients[0]);
    }
    configure_tiles(0);
    return loss;
}

size_t textgen_workspace(const Network *network, const TextBatch *batch, int gradients) {
    Work work;
    plan(&work, network, batch, gradients, NULL);
    return work.bytes;
}
