/* The memory that a chunk is computed in, and the weights as the products need them.
 *
 * Units are padded to a multiple of ALIGNMENT. The weights of a padded unit are zero, so its output
 * and its gradients are zero.
 */

#ifndef TEXTGEN_WORKSPACE_H
#define TEXTGEN_WORKSPACE_H

#include "network.h"
#include "products.h"

#define PADDING        16 /* floats that keep rows from falling into the same sets of the cache */
#define LARGEST_LOGITS (1 << 24) /* in memory at once */

typedef struct {
    element *data;
    size_t stride;
} Matrix;

typedef struct {
    float *data;
    size_t stride;
} Floats;

typedef struct {
    size_t units, padded;         /* U, and rounded up */
    size_t inputs, inputs_padded; /* the same of the layer below, or E */
    Matrix kernel, recurrent;     /* (inputs, gates U), (U, gates U) */
    float *bias, *recurrent_bias; /* (gates U) each; the second of a GRU alone */
    Matrix before;                /* (T B, U): h before each step */
    Matrix outputs;               /* (T B, U): h after each step, times the dropout mask */
    Floats memory;                /* ((T + 1) B, U): c, or h of a GRU */
    Floats gates;                 /* (T B, 4 U): i, f, c, o, or z, r, h, and the product of h */
    float *mask;                  /* (B, U) */
    float *h_after;               /* (B, U) */
    Matrix d_gates;               /* (T B, 4 U) */
    float *carried;               /* (B, U): the gradient that the memory carries back */
} Layer;

typedef struct {
    const Network *network;
    const TextBatch *batch;
    size_t gates, count; /* of a layer: 4 or 3; T B */
    int by_table;        /* whether the first layer's projection of each token is looked up */
    Layer *layers;
    Matrix embedding, embedded; /* (V, E), (T B, E) */
    Floats table;               /* (V, gates U): projections of the tokens */
    Matrix output;              /* (U, C) or (C, U) */
    float *output_bias;
    size_t at_once; /* rows of logits */
    Floats logits;
    Matrix d_logits;
    Floats d_outputs; /* (T B, U): of the layer at work */
    Floats d_rows;    /* (V, 4 U) or (1, 4 U): of the projections, or of the bias */
    Matrix d_table;
    Floats product; /* a gradient before it is cut to its shape */
    float *d_output_bias;
    element *packed, *packed_back; /* right factors */
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

/* Lay out the memory from `base`, which may be null, and count it. Layers have a place each. */
static void plan(Work *work, Layer *layers, const Network *network, const TextBatch *batch,
                 int gradients, char *base) {
    size_t rows = batch->rows, count = (size_t)batch->steps * rows;
    size_t E = network->embedding, V = network->vocabulary, C = network->outputs;
    *work = (Work){.network = network, .batch = batch, .layers = layers, .count = count};
    work->gates = gate_count(network->cell);
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
    /* A whole number of blocks along K, so that zeros follow the last one. */
    work->at_once = smaller(count, round_up(LARGEST_LOGITS / C + 1, DEEP));
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
        if (work->by_table)
            work->d_table = take_matrix(work, base, V, 4 * work->layers[0].padded, 0);
        size_t product = round_up(tall, ALIGNMENT) * round_up(deepest, ALIGNMENT),
               kernel = deepest * 4 * widest;
        work->product.data =
            take(work, base, (product > kernel ? product : kernel) * sizeof(float));
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
static void fill(Matrix *matrix, const float *from, size_t rows, size_t all_rows, size_t blocks,
                 size_t columns, size_t padded) {
    if (PAIR == 1 && columns == padded && blocks * columns == matrix->stride && rows == all_rows) {
        matrix->data = (element *)from;
        return;
    }
    memset(matrix->data + rows * matrix->stride, 0,
           (round_up(all_rows, DEEP) - rows) * matrix->stride * sizeof(element));
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
    for (size_t r = 0; r < rows; r++, to += columns, from += padded)
        memcpy(to, from, columns * sizeof(float));
}

static void zero_rows_after(Matrix matrix, size_t rows) {
    memset(matrix.data + rows * matrix.stride, 0,
           (round_up(rows, DEEP) - rows) * matrix.stride * sizeof(element));
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
        if (network->cell == GRU)
            copy_padded(layer->recurrent_bias, *weights + gates * U, gates, U, padded);
        weights++;
    }
    const Layer *last = &work->layers[network->layers - 1];
    if (network->transposed)
        fill(&work->output, *weights++, C, C, 1, last->units, last->padded);
    else
        fill(&work->output, *weights++, last->units, last->padded, 1, C, C);
    copy_padded(work->output_bias, *weights, 1, C, round_up(C, ALIGNMENT));
}

#endif
