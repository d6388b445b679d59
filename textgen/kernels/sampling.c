/* Steps of a network, for generation.
 *
 * A product of rows and weights reads the weights once for a tile of rows. Each sum is added up in
 * the order of the inputs, whatever the tile, so it does not depend on the number of rows.
 *
 * Units are padded to a multiple of LANES. The weights of a padded unit are zero, so its state
 * stays zero.
 */

#include "sampling.h"
#include "threads.h"
#include "vectors.h"

#ifdef __wasm__
#define ROWS 1 /* of a tile; a page writes one text */
#else
#define ROWS 6
#endif
#if LANES == 16 || defined __aarch64__
#define COLUMNS 4 /* vectors of a panel; 32 registers: 24 sums */
#define STRIP   2 /* panels for one row at once: enough sums to hide the latency of each */
#else
#define COLUMNS 2 /* 16 registers: 12 sums */
#define STRIP   4
#endif
#define WIDTH (COLUMNS * LANES)
#define AHEAD 2048 /* bytes of a panel that are prefetched before they are used */
#define BLOCK 48   /* rows that are read at once */

/* The embeddings of a vocabulary of more tokens are projected at each step. */
#define LARGEST_TABLE 4096

/* A right factor, (K, N), in panels of WIDTH columns; the last is padded to whole vectors. */
typedef struct {
    int half; /* whether the numbers are float16, not float32 */
    char *data;
    size_t depth, columns; /* K, N */
} Factor;

typedef struct {
    size_t units, padded;
    Factor kernel, recurrent;
    float *bias, *recurrent_bias; /* (gates U); the second of a GRU alone */
} Layer;

typedef struct {
    int cell, layers;
    size_t gates, widest, state_size; /* `widest`: the most inputs or padded units */
    size_t embedding_size, vocabulary;
    const float *embedding; /* (V, E) */
    float *table;           /* (V, gates U): the first layer's projection of each token; or null */
    Factor output;
    float *output_bias;
    Layer *layer;
} Packed;

/* Numbers of float16 */

/* Round to float16; a number too large becomes the largest. NaN stays NaN.
 *
 * Dividing by 2^112 gives the exponent the value that it has in float16.
 */
static uint16_t to_half(float x) {
    uint32_t sign, bits;
    memcpy(&sign, &x, sizeof sign);
    float size = x < 0 ? -x : x;
    size = (size > 65504 ? 65504 : size) * 0x1p-112f;
    memcpy(&bits, &size, sizeof bits);
    return (uint16_t)((sign >> 16 & 0x8000) | (bits + 0x0fff + (bits >> 13 & 1)) >> 13);
}

INLINE vec load_half(const uint16_t *from) {
#if defined __AVX512F__
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)from));
#elif defined __F16C__
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)from));
#elif defined __aarch64__
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#else
    ints bits;
    for (int i = 0; i < LANES; i++) bits[i] = from[i];
    return (vec)((bits & 0x8000) << 16 | (bits & 0x7fff) << 13) * 0x1p112f;
#endif
}

/* Packing */

static void *take(char *base, size_t *bytes, size_t size) {
    void *place = base + *bytes;
    *bytes += round_up(size, 64) + 64;
    return place;
}

static float *take_floats(char *base, size_t *bytes, size_t count) {
    return take(base, bytes, count * sizeof(float));
}

static inline size_t size_of(int half) { return half ? sizeof(uint16_t) : sizeof(float); }

static Factor take_factor(char *base, size_t *bytes, int half, size_t depth, size_t columns) {
    return (Factor){half, take(base, bytes, depth * round_up(columns, LANES) * size_of(half)),
                    depth, columns};
}

/* Return the numbers in the state of a layer: h and, unless the cell is a GRU, c. */
static inline size_t state_width(const Packed *packed, const Layer *layer) {
    return packed->cell == GRU ? layer->padded : 2 * layer->padded;
}

/* Lay out the weights from `base`, which may be null; return their bytes. */
static size_t lay_out(Packed *packed, Layer *layers, const Network *network, int half, char *base) {
    size_t bytes = round_up(sizeof(Packed), 64), inputs = network->embedding;
    take(base, &bytes, network->layers * sizeof(Layer));
    *packed = (Packed){.cell = network->cell, .layers = network->layers, .layer = layers};
    packed->gates = gate_count(network->cell);
    packed->embedding_size = packed->widest = inputs;
    packed->vocabulary = network->vocabulary;
    for (int l = 0; l < network->layers; l++) {
        Layer *layer = &packed->layer[l];
        size_t units = network->units[l], padded = round_up(units, LANES),
               width = packed->gates * padded;
        *layer = (Layer){.units = units, .padded = padded};
        layer->kernel = take_factor(base, &bytes, half, inputs, width);
        layer->recurrent = take_factor(base, &bytes, half, units, width);
        layer->bias = take_floats(base, &bytes, width);
        layer->recurrent_bias = take_floats(base, &bytes, width);
        packed->state_size += state_width(packed, layer);
        packed->widest = padded > packed->widest ? padded : packed->widest;
        inputs = units;
    }
    packed->output = take_factor(base, &bytes, half, inputs, network->outputs);
    packed->output_bias = take_floats(base, &bytes, round_up(network->outputs, LANES));
    if (packed->vocabulary <= LARGEST_TABLE)
        packed->table =
            take_floats(base, &bytes, packed->vocabulary * packed->gates * packed->layer[0].padded);
    return bytes;
}

/* Copy rows of blocks of columns; pad each block. The steps between numbers are given. */
static void pack(Factor factor, const float *from, size_t row_step, size_t column_step,
                 size_t block, size_t padded) {
    size_t whole = round_up(factor.columns, LANES);
    char *to = factor.data;
    for (size_t panel = 0; panel < whole; panel += WIDTH)
        for (size_t k = 0; k < factor.depth; k++)
            for (size_t n = panel; n < smaller(panel + WIDTH, whole); n += LANES) {
                const float *row = from + k * row_step + n / padded * block * column_step;
                for (size_t i = 0, column = n % padded; i < LANES;
                     i++, column++, to += size_of(factor.half)) {
                    float x = column < block ? row[column * column_step] : 0;
                    uint16_t rounded = to_half(x);
                    memcpy(to, factor.half ? (void *)&rounded : (void *)&x, size_of(factor.half));
                }
            }
}

static void pad(float *to, const float *from, size_t blocks, size_t block, size_t padded) {
    for (size_t b = 0; b < blocks; b++, to += padded, from += block) {
        memcpy(to, from, block * sizeof(float));
        memset(to + block, 0, (padded - block) * sizeof(float));
    }
}

/* Products */

INLINE vec load_weights(const int half, const char *from) {
    return half ? load_half((const uint16_t *)from) : load((const float *)from);
}

/* Multiply rows, each of K numbers, by neighbouring panels; the sums begin with `start`. */
INLINE void tile(const int half, const int rows, const int columns, const int panels,
                 const float *left, size_t left_stride, const char *panel, size_t depth,
                 const float *start, size_t start_stride, float *product, size_t stride) {
    const size_t vector = LANES * size_of(half), row = columns * vector;
    vec sums[ROWS][STRIP * COLUMNS];
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int j = 0; j < panels * columns; j++)
        sums[r][j] = start ? load(start + r * start_stride + j * LANES) : (vec){0};
    for (size_t k = 0; k < depth; k++) {
        UNROLL
        for (int p = 0; p < panels; p++) UNROLL
        for (size_t j = 0; j < row; j += 64)
            __builtin_prefetch(panel + p * depth * row + AHEAD + j);
        UNROLL
        for (int r = 0; r < rows; r++) {
            float x = left[r * left_stride + k];
            UNROLL
            for (int j = 0; j < panels * columns; j++)
                sums[r][j] += x * load_weights(half, panel + j / columns * depth * row +
                                                         j % columns * vector);
        }
        panel += row;
    }
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int j = 0; j < panels * columns; j++) store(product + r * stride + j * LANES, sums[r][j]);
}

/* Call `tile` with constants, for which the compiler unrolls it. */
static __attribute__((noinline)) void multiply_tile(int half, int rows, int columns,
                                                    const float *left, size_t left_stride,
                                                    const char *panel, size_t depth,
                                                    const float *start, size_t start_stride,
                                                    float *product, size_t stride) {
#define TILE(h, r, c)                                                                              \
    case h * 64 + r * 8 + c:                                                                       \
        if (r <= ROWS)                                                                             \
            tile(h, r, c, 1, left, left_stride, panel, depth, start, start_stride, product,        \
                 stride);                                                                          \
        break;
#if COLUMNS == 4
#define TILES(h, r) TILE(h, r, 1) TILE(h, r, 2) TILE(h, r, 3) TILE(h, r, 4)
#else
#define TILES(h, r) TILE(h, r, 1) TILE(h, r, 2)
#endif
#define ALL(h) TILES(h, 1) TILES(h, 2) TILES(h, 3) TILES(h, 4) TILES(h, 5) TILES(h, 6)
    switch (half * 64 + rows * 8 + columns) { ALL(0) ALL(1) }
#undef ALL
#undef TILES
#undef TILE
}

/* Multiply a row by panels that fill the registers. */
static __attribute__((noinline)) void multiply_strip(int half, const float *left, const char *panel,
                                                     size_t depth, const float *start,
                                                     float *product) {
    if (half)
        tile(1, 1, COLUMNS, STRIP, left, 0, panel, depth, start, 0, product, 0);
    else
        tile(0, 1, COLUMNS, STRIP, left, 0, panel, depth, start, 0, product, 0);
}

/* Multiply rows, (M, K), by a factor, (K, N).
 *
 * The sums begin with `start`, rows of whole vectors whose stride may be 0; or with zero, if it is
 * null. The product has room for `stride` numbers in each row. `expanded` has room for a panel in
 * float32, to which one of float16 is converted for many rows; or it is null.
 */
static void multiply(size_t rows, Factor factor, const float *left, size_t left_stride,
                     const float *start, size_t start_stride, float *product, size_t stride,
                     float *expanded) {
    size_t whole = round_up(factor.columns, LANES), depth = factor.depth,
           tiles = (rows + ROWS - 1) / ROWS;
    for (size_t n = 0, width; n < whole; n += width) {
        const char *panel = factor.data + n * depth * size_of(factor.half);
        const float *first = start ? start + n : NULL;
        if (rows == 1 && n + STRIP * WIDTH <= factor.columns) {
            multiply_strip(factor.half, left, panel, depth, first, product + n);
            width = STRIP * WIDTH;
            continue;
        }
        width = smaller(WIDTH, whole - n);
        int half = factor.half;
        if (half && tiles > 1 && expanded) {
            for (size_t i = 0; i < depth * width; i += LANES)
                store(expanded + i, load_half((const uint16_t *)panel + i));
            panel = (const char *)expanded, half = 0;
        }
        for (size_t t = 0; t < tiles; t++) { /* of about equal size */
            size_t r = rows * t / tiles, count = rows * (t + 1) / tiles - r;
            const float *own_start = first ? first + r * start_stride : NULL;
            float cut[ROWS * WIDTH], *own = product + r * stride + n;
            int fits = n + width <= stride;
            multiply_tile(half, (int)count, (int)(width / LANES), left + r * left_stride,
                          left_stride, panel, depth, own_start, start_stride, fits ? own : cut,
                          fits ? stride : WIDTH);
            for (size_t i = 0; !fits && i < count; i++)
                memcpy(own + i * stride, cut + i * WIDTH, (stride - n) * sizeof(float));
        }
    }
}

/* Layers */

/* What a thread works on: some rows of a batch, or as a member of a team the only row. */
typedef struct {
    const Packed *packed;
    size_t steps, batch; /* T, B */
    size_t first, rows;  /* the thread's own */

    /* Arrays of the whole batch; the last three may be null. */
    const int64_t *tokens;
    const float *before;
    float *after, *outputs, *const *traces, *logits;

    /* The thread's room. */
    float *projected; /* for the gates, (steps rows, gates U) */
    float *recurrent; /* (rows, gates U) */
    float *hidden;    /* (steps rows, U): outputs of the layer below, then of this one */
    float *expanded;  /* a panel */

    Team *team; /* or null */
    size_t member;
} Reading;

/* Project the inputs of a layer for some steps: the embeddings of tokens, or the outputs below. */
static void project(const Layer *layer, const Reading *reading, size_t start, size_t steps) {
    const Packed *packed = reading->packed;
    size_t width = packed->gates * layer->padded, stride = packed->widest;
    if (layer == packed->layer)
        for (size_t row = 0; row < steps * reading->rows; row++) {
            size_t t = start + row / reading->rows, b = reading->first + row % reading->rows;
            size_t token = reading->tokens[t * reading->batch + b];
            if (packed->table)
                memcpy(reading->projected + row * width, packed->table + token * width,
                       width * sizeof(float));
            else
                memcpy(reading->hidden + row * stride,
                       packed->embedding + token * packed->embedding_size,
                       packed->embedding_size * sizeof(float));
        }
    if (layer != packed->layer || !packed->table)
        multiply(steps * reading->rows, layer->kernel, reading->hidden, stride, layer->bias, 0,
                 reading->projected, width, reading->expanded);
}

/* Activate the gates, (gates, U), in place; update the state. `recurrent` is that of a GRU. */
INLINE void activate(const int cell, size_t U, float *gates, const float *recurrent, float *h) {
    float *last = cell == LSTM ? gates + U : gates; /* f, c and o */
    for (size_t u = 0; u < U; u += LANES) {
        if (cell != GRU) {
            vec f = sigmoid(load(last + u));
            vec i = cell == LSTM ? sigmoid(load(gates + u)) : 1.0f - f;
            vec g = hyperbolic_tangent(load(last + U + u));
            vec o = sigmoid(load(last + 2 * U + u));
            vec c = f * load(h + U + u) + i * g;
            if (cell == LSTM) store(gates + u, i);
            store(last + u, f);
            store(last + U + u, g);
            store(last + 2 * U + u, o);
            store(h + U + u, c);
            store(h + u, o * hyperbolic_tangent(c));
        } else {
            vec z = sigmoid(load(gates + u) + load(recurrent + u));
            vec r = sigmoid(load(gates + U + u) + load(recurrent + U + u));
            vec g = hyperbolic_tangent(load(gates + 2 * U + u) + r * load(recurrent + 2 * U + u));
            store(gates + u, z);
            store(gates + U + u, r);
            store(gates + 2 * U + u, g);
            store(h + u, g + z * (load(h + u) - g));
        }
    }
}

/* Copy the activations of a row of a layer; `place` is its number among all steps and rows. */
static void copy_trace(const Packed *packed, const Layer *layer, float *const *traces, size_t place,
                       const float *gates, const float *h) {
    size_t units = layer->units, padded = layer->padded, each = packed->cell == GRU ? 2 : 3;
    float *const *own = traces + each * (layer - packed->layer);
    for (size_t g = 0; g < packed->gates; g++)
        memcpy(own[0] + (place * packed->gates + g) * units, gates + g * padded,
               units * sizeof(float));
    memcpy(own[1] + place * units, h, units * sizeof(float));
    if (packed->cell != GRU) memcpy(own[2] + place * units, h + padded, units * sizeof(float));
}

/* Multiply the states by a member's part of the recurrent kernel. */
static void multiply_recurrent(const Layer *layer, const Reading *reading, const float *states,
                               size_t state_stride, const float *start, size_t start_stride,
                               float *product) {
    Factor own = layer->recurrent;
    size_t width = own.columns, strip = STRIP * WIDTH, strips = (width + strip - 1) / strip;
    size_t members = reading->team ? reading->team->members : 1, number = reading->member;
    size_t first = smaller(strips * number / members * strip, width),
           last = smaller(strips * (number + 1) / members * strip, width);
    own.data += first * own.depth * size_of(own.half);
    own.columns = last - first;
    multiply(reading->rows, own, states, state_stride, start + first, start_stride, product + first,
             width, reading->expanded);
}

/* Run a layer over some steps, whose projected inputs are given. */
static void run_layer(const Layer *layer, const Reading *reading, float *states, size_t start,
                      size_t steps) {
    const Packed *packed = reading->packed;
    size_t U = layer->padded, width = packed->gates * U, rows = reading->rows,
           stride = packed->state_size;
    for (size_t t = 0; t < steps; t++) {
        float *projected = reading->projected + t * rows * width;
        meet(reading->team); /* the state is that of the last step */
        if (packed->cell == GRU)
            multiply_recurrent(layer, reading, states, stride, layer->recurrent_bias, 0,
                               reading->recurrent);
        else
            multiply_recurrent(layer, reading, states, stride, projected, width, projected);
        meet(reading->team); /* the products are there */
        for (size_t r = 0; r < rows && !reading->member; r++) {
            float *gates = projected + r * width, *h = states + r * stride;
            switch (packed->cell) {
                case LSTM: activate(LSTM, U, gates, NULL, h); break;
                case GRU: activate(GRU, U, gates, reading->recurrent + r * width, h); break;
                case CIFG: activate(CIFG, U, gates, NULL, h); break;
            }
            memcpy(reading->hidden + (t * rows + r) * packed->widest, h, U * sizeof(float));
            size_t place = (start + t) * reading->batch + reading->first + r;
            if (reading->traces) copy_trace(packed, layer, reading->traces, place, gates, h);
            if (reading->outputs && layer == packed->layer + packed->layers - 1)
                memcpy(reading->outputs + place * layer->units, h, layer->units * sizeof(float));
        }
    }
}

/* Lay out the room for a thread's rows, or for several steps of fewer; return its bytes. */
static size_t arrange(Reading *reading, char *base) {
    const Packed *packed = reading->packed;
    size_t bytes = 0, count = reading->rows < BLOCK ? BLOCK : reading->rows,
           width = packed->gates * packed->widest;
    reading->projected = take_floats(base, &bytes, count * width);
    reading->recurrent = take_floats(base, &bytes, reading->rows * width);
    reading->hidden = take_floats(base, &bytes, count * packed->widest);
    reading->expanded = take_floats(base, &bytes, packed->widest * WIDTH);
    return bytes;
}

/* Divide the rows of a batch; lay out the room of each part; return the bytes of all. */
static size_t divide(const Reading *whole, Reading *parts, size_t count, char *base) {
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        parts[i] = *whole;
        parts[i].first = whole->batch * i / count;
        parts[i].rows = whole->batch * (i + 1) / count - parts[i].first;
        bytes += arrange(&parts[i], base + bytes);
    }
    return bytes;
}

/* Read all steps of a thread's rows; compute the logits, if there is a place for them. */
static void *read_rows(void *part) {
    const Reading *reading = part;
    const Packed *packed = reading->packed;
    size_t rows = reading->rows, width = packed->state_size, start = reading->first * width;
    if (!rows) return NULL;
    float *after = reading->after + start;
    if (!reading->member) memcpy(after, reading->before + start, rows * width * sizeof(float));
    const Layer *layer, *end = packed->layer + packed->layers;
    size_t at_once = rows < BLOCK ? BLOCK / rows : 1;
    for (size_t first = 0; first < reading->steps; first += at_once) {
        size_t count = smaller(at_once, reading->steps - first);
        float *states = after;
        for (layer = packed->layer; layer < end; layer++) {
            if (!reading->member) project(layer, reading, first, count);
            run_layer(layer, reading, states, first, count);
            states += state_width(packed, layer);
        }
    }
    if (reading->logits)
        multiply(rows, packed->output, after + width - state_width(packed, end - 1), width,
                 packed->output_bias, 0, reading->logits + reading->first * packed->output.columns,
                 packed->output.columns, reading->expanded);
    return NULL;
}

/* Read the tokens of a batch in threads; return 0 if one is not in the vocabulary, else 1. */
static int read_batch(const Reading *whole, int32_t threads, void *room) {
    for (size_t i = 0; i < whole->steps * whole->batch; i++)
        if ((uint64_t)whole->tokens[i] >= whole->packed->vocabulary) return 0;
    if (threads > 1 && whole->batch == 1 && whole->steps > 1) {
        Team team = {.members = 2};
        Reading members[2];
        Thread other;
        divide(whole, members, 1, room);
        members[1] = members[0];
        members[1].member = 1;
        members[0].team = members[1].team = &team;
        int two = start(&other, read_rows, &members[1]);
        if (!two) members[0].team = NULL;
        read_rows(&members[0]);
        if (two) join(other);
    } else {
        Reading parts[threads];
        divide(whole, parts, threads, room);
        work_on_parts(read_rows, parts, sizeof *parts, threads);
    }
    return 1;
}

/* Rows whose logits a thread computes. */
typedef struct {
    const Packed *packed;
    size_t rows;
    const float *outputs;
    float *logits;
} Product;

static void *multiply_rows(void *part) {
    const Product *product = part;
    const Packed *packed = product->packed;
    size_t units = packed->output.depth, columns = packed->output.columns;
    for (size_t first = 0; first < product->rows; first += 2 * BLOCK)
        multiply(smaller(2 * BLOCK, product->rows - first), packed->output,
                 product->outputs + first * units, units, packed->output_bias, 0,
                 product->logits + first * columns, columns, NULL);
    return NULL;
}

/* Exported functions */

size_t textgen_packed_bytes(const Network *network, int half) {
    Packed packed;
    Layer layers[network->layers];
    return lay_out(&packed, layers, network, half, NULL);
}

void textgen_pack(const Network *network, int half, const float *const *weights, void *memory) {
    Packed *packed = memory;
    lay_out(packed, (Layer *)((char *)memory + round_up(sizeof(Packed), 64)), network, half,
            memory);
    packed->embedding = *weights++;
    for (int l = 0; l < packed->layers; l++) {
        Layer *layer = &packed->layer[l];
        size_t gates = packed->gates, units = layer->units, padded = layer->padded;
        pack(layer->kernel, *weights++, gates * units, 1, units, padded);
        pack(layer->recurrent, *weights++, gates * units, 1, units, padded);
        pad(layer->bias, *weights, gates, units, padded);
        if (packed->cell == GRU)
            pad(layer->recurrent_bias, *weights + gates * units, gates, units, padded);
        weights++;
    }
    size_t outputs = packed->output.columns, whole = round_up(outputs, LANES),
           units = packed->output.depth;
    pack(packed->output, *weights++, network->transposed ? 1 : outputs,
         network->transposed ? units : 1, outputs, whole);
    pad(packed->output_bias, *weights, 1, outputs, whole);
    if (packed->table) {
        const Layer *layer = packed->layer;
        size_t width = packed->gates * layer->padded;
        multiply(packed->vocabulary, layer->kernel, packed->embedding, packed->embedding_size,
                 layer->bias, 0, packed->table, width, NULL);
    }
}

size_t textgen_state_size(const void *packed) { return ((const Packed *)packed)->state_size; }

size_t textgen_room(const void *packed, int32_t rows, int32_t threads) {
    Reading whole = {.packed = packed, .batch = rows}, parts[threads];
    return divide(&whole, parts, threads, NULL);
}

int textgen_step(const void *packed, int32_t rows, int32_t threads, const int64_t *tokens,
                 const float *before, float *after, float *logits, void *room) {
    Reading whole = {.packed = packed,
                     .steps = 1,
                     .batch = rows,
                     .tokens = tokens,
                     .before = before,
                     .after = after,
                     .logits = logits};
    return read_batch(&whole, threads, room);
}

int textgen_read(const void *packed, int32_t steps, int32_t rows, int32_t threads,
                 const int64_t *tokens, const float *before, float *after, float *outputs,
                 float *const *traces, void *room) {
    Reading whole = {.packed = packed,
                     .steps = steps,
                     .batch = rows,
                     .tokens = tokens,
                     .before = before,
                     .after = after,
                     .outputs = outputs,
                     .traces = traces};
    return read_batch(&whole, threads, room);
}

void textgen_logits(const void *memory, int32_t rows, int32_t threads, const float *outputs,
                    float *logits) {
    const Packed *packed = memory;
    Product parts[threads];
    for (int32_t i = 0; i < threads; i++) {
        size_t first = (size_t)rows * i / threads, end = (size_t)rows * (i + 1) / threads;
        parts[i] = (Product){packed, end - first, outputs + first * packed->output.depth,
                             logits + first * packed->output.columns};
    }
    work_on_parts(multiply_rows, parts, sizeof *parts, threads);
}
