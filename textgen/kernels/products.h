/* Matrix products, (M, K) by (K, N), whose factors are rearranged once and used many times.
 *
 * Factors are float32, or bfloat16 where the target multiplies that; sums are float32. A word is
 * what the target multiplies at once in each lane: PAIR elements, neighbours along K. An
 * instruction takes DEEP elements of each row along K: a word, or 16 words with Intel's AMX.
 *
 * The right factor is packed in panels of up to COLUMNS vectors, (K / PAIR, columns, PAIR). The
 * left factor is used as it is, or, if it is given transposed, packed in groups of GROUP rows,
 * (K / DEEP, GROUP, DEEP). A tile of ROWS by COLUMNS vectors of the product stays in registers.
 *
 * Matrices of elements are padded with zeros: rows to a multiple of ALIGNMENT elements, and the
 * number of rows, where it is K, to a multiple of DEEP.
 */

#ifndef TEXTGEN_PRODUCTS_H
#define TEXTGEN_PRODUCTS_H

#include "vectors.h"

typedef uint32_t word;

#if defined __AMX_BF16__ || defined __AVX512BF16__
typedef uint16_t element;
#define PAIR 2
#else
typedef float element;
#define PAIR 1
#endif

#if defined __AMX_BF16__
#define DEEP    32
#define ROWS    16
#define GROUP   16
#define COLUMNS 4 /* 8 tiles: 4 sums, 1 of the left factor, 3 of the right one */
#elif LANES == 16 || defined __aarch64__
#define DEEP    PAIR
#define ROWS    6
#define GROUP   (PAIR == 2 ? LANES : ROWS)
#define COLUMNS 4 /* 32 registers: 24 sums */
#else
#define DEEP    PAIR
#define ROWS    6
#define GROUP   ROWS
#define COLUMNS 2 /* 16 registers: 12 sums */
#endif

#define WIDTH     (COLUMNS * LANES)
#define ALIGNMENT (LANES > DEEP ? LANES : DEEP)
#define BLOCK     192 /* rows of the left factor that are multiplied by all panels in turn */
#define AHEAD     256 /* words of a panel that are prefetched before they are used */

/* Elements */

INLINE void store_elements(element *to, vec x) {
#if PAIR == 2
    _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x));
#else
    store(to, x);
#endif
}

static void to_elements(element *to, const float *from, size_t count) {
    size_t whole = count / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES) store_elements(to + i, load(from + i));
    if (whole < count) {
        float last[LANES] = {0};
        memcpy(last, from + whole, (count - whole) * sizeof(float));
        element rounded[LANES];
        store_elements(rounded, load(last));
        memcpy(to + whole, rounded, (count - whole) * sizeof(element));
    }
}

/* Store the elements at `from` and `from + stride` alternately, or the first alone with PAIR 1. */
INLINE void store_words(element *to, const element *from, size_t stride) {
#if PAIR == 2
    __m512i first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    __m512i second = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(from + stride)));
    _mm512_storeu_si512(to, _mm512_or_si512(first, _mm512_slli_epi32(second, 16)));
#else
    (void)stride;
    store(to, load(from));
#endif
}

/* Packing; sizes and strides are in elements. */

static inline size_t packed_size(size_t K, size_t N) {
    return round_up(K, DEEP) * round_up(N, LANES);
}
static inline size_t packed_left_size(size_t M, size_t K) {
    return round_up(K, DEEP) * round_up(M, GROUP);
}

/* Pack a right factor, (K, N). */
static void pack_right(size_t K, size_t N, const element *from, size_t stride, element *to) {
    for (size_t panel = 0; panel < N; panel += WIDTH)
        for (size_t k = 0; k < round_up(K, DEEP); k += PAIR)
            for (size_t n = panel; n < smaller(panel + WIDTH, N); n += LANES, to += LANES * PAIR)
                store_words(to, from + k * stride + n, stride);
}

/* Pack a right factor that is given transposed, (N, K). */
static void pack_right_transposed(size_t K, size_t N, const element *from, size_t stride,
                                  element *to) {
    for (size_t panel = 0; panel < N; panel += WIDTH) {
        size_t width = smaller(WIDTH, round_up(N - panel, LANES)), words = round_up(K, DEEP) / PAIR;
        for (size_t first = 0; first < words;
             first += 16) /* reads a line of the cache in each row */
            for (size_t n = 0; n < width; n++) {
                const element *row = from + (panel + n) * stride;
                size_t last = smaller(first + 16, words);
                if (panel + n < N)
                    for (size_t k = first; k < last; k++)
                        memcpy(to + (k * width + n) * PAIR, row + k * PAIR, sizeof(word));
                else
                    for (size_t k = first; k < last; k++)
                        memset(to + (k * width + n) * PAIR, 0, sizeof(word));
            }
        to += words * width * PAIR;
    }
}

/* Pack a left factor that is given transposed, (K, M). */
static void pack_left(size_t M, size_t K, const element *from, size_t stride, element *to) {
    for (size_t m = 0; m < M; m += GROUP)
        for (size_t block = 0; block < round_up(K, DEEP); block += DEEP, to += GROUP * DEEP)
            for (size_t k = 0; k < DEEP; k += PAIR) {
                const element *row = from + (block + k) * stride + m;
#if DEEP > PAIR
                element words[GROUP * PAIR];
                store_words(words, row, stride);
                for (size_t i = 0; i < GROUP; i++)
                    memcpy(to + i * DEEP + k, words + i * PAIR, sizeof(word));
#elif PAIR == 2
                store_words(to, row, stride);
#else
                if (m + GROUP <= M)
                    memcpy(to, row, GROUP * sizeof(element));
                else
                    memcpy(to, row,
                           (M - m) * sizeof(element)); /* products of the others are not used */
#endif
            }
}

/* Products */

/* Multiply some rows of a left factor by a panel; overwrite the product, or add to it.
 *
 * The numbers of row r that block k needs are at left + r * row + k * step. Steps and strides are
 * in elements of the left factor, and in floats of the product.
 */
#if defined __AMX_BF16__

/* Tiles of `rows` rows for the left factor and the sums, and of 16 rows for the right factor. */
static void configure_tiles(int rows) {
    static _Thread_local int configured;
    if (rows == configured) return;
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } configuration = {.palette = 1};
    for (int t = 0; t < 8; t++)
        configuration.bytes[t] = 64, configuration.rows[t] = t < 5 ? rows : 16;
    if (rows) _tile_loadconfig(&configuration);
    configured = rows;
}

INLINE void tile(const int columns, const element *left, size_t row, size_t step,
                 const element *panel, size_t blocks, float *product, size_t stride, int add) {
#define EACH(j, statement)                                                                         \
    if (columns > j) {                                                                             \
        statement;                                                                                 \
    }
    if (add) {
        EACH(0, _tile_loadd(0, product, stride * 4))
        EACH(1, _tile_loadd(1, product + LANES, stride * 4))
        EACH(2, _tile_loadd(2, product + 2 * LANES, stride * 4))
        EACH(3, _tile_loadd(3, product + 3 * LANES, stride * 4))
    } else {
        EACH(0, _tile_zero(0)) EACH(1, _tile_zero(1)) EACH(2, _tile_zero(2)) EACH(3, _tile_zero(3))
    }
    for (size_t k = 0; k < blocks; k++) {
        _tile_loadd(4, left, row * sizeof(element));
        EACH(0, _tile_loadd(5, panel, columns * 64); _tile_dpbf16ps(0, 4, 5))
        EACH(1, _tile_loadd(6, panel + 32, columns * 64); _tile_dpbf16ps(1, 4, 6))
        EACH(2, _tile_loadd(7, panel + 64, columns * 64); _tile_dpbf16ps(2, 4, 7))
        EACH(3, _tile_loadd(5, panel + 96, columns * 64); _tile_dpbf16ps(3, 4, 5))
        left += step;
        panel += columns * LANES * DEEP;
    }
    EACH(0, _tile_stored(0, product, stride * 4))
    EACH(1, _tile_stored(1, product + LANES, stride * 4))
    EACH(2, _tile_stored(2, product + 2 * LANES, stride * 4))
    EACH(3, _tile_stored(3, product + 3 * LANES, stride * 4))
#undef EACH
}

static __attribute__((noinline)) void multiply_tile(int rows, int columns, const element *left,
                                                    size_t row, size_t step, const element *panel,
                                                    size_t blocks, float *product, size_t stride,
                                                    int add) {
    configure_tiles(rows);
#define TILE(c)                                                                                    \
    case c: tile(c, left, row, step, panel, blocks, product, stride, add); break;
    switch (columns) { TILE(1) TILE(2) TILE(3) TILE(4) }
#undef TILE
}

#else

static inline void configure_tiles(int rows) { (void)rows; }

INLINE vec multiply_add(vec sum, word a, const element *b) {
#if PAIR == 2
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)a),
                            (__m512bh)_mm512_loadu_si512(b));
#else
    float x;
    memcpy(&x, &a, sizeof x);
    return sum + x * load(b);
#endif
}

INLINE void tile(const int rows, const int columns, const element *left, size_t row, size_t step,
                 const element *panel, size_t blocks, float *product, size_t stride, int add) {
    vec sums[ROWS][COLUMNS];
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int j = 0; j < columns; j++)
        sums[r][j] = add ? load(product + r * stride + j * LANES) : (vec){0};
    for (size_t k = 0; k < blocks; k++) {
        UNROLL
        for (int j = 0; j < columns; j++) __builtin_prefetch(panel + (AHEAD + j * LANES) * PAIR);
        UNROLL
        for (int r = 0; r < rows; r++) {
            word a;
            memcpy(&a, left + r * row, sizeof a);
            UNROLL
            for (int j = 0; j < columns; j++)
                sums[r][j] = multiply_add(sums[r][j], a, panel + j * LANES * PAIR);
        }
        left += step;
        panel += columns * LANES * PAIR;
    }
    UNROLL
    for (int r = 0; r < rows; r++) UNROLL
    for (int j = 0; j < columns; j++) store(product + r * stride + j * LANES, sums[r][j]);
}

/* Call `tile` with constants, for which the compiler unrolls it. */
static __attribute__((noinline)) void multiply_tile(int rows, int columns, const element *left,
                                                    size_t row, size_t step, const element *panel,
                                                    size_t blocks, float *product, size_t stride,
                                                    int add) {
#define TILE(r, c)                                                                                 \
    case r * 8 + c: tile(r, c, left, row, step, panel, blocks, product, stride, add); break;
#if COLUMNS == 4
#define TILES(r) TILE(r, 1) TILE(r, 2) TILE(r, 3) TILE(r, 4)
#else
#define TILES(r) TILE(r, 1) TILE(r, 2)
#endif
    switch (rows * 8 + columns) { TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6) }
#undef TILES
#undef TILE
}

#endif

/* Rows are cut into tiles of about equal size. */
static inline int tile_count(size_t rows) { return (int)((rows + ROWS - 1) / ROWS); }
static inline size_t tile_start(size_t rows, int number) {
    return rows * number / tile_count(rows);
}

/* Multiply (M, K), row by row, by a packed (K, N). The product has room for whole vectors. */
static void multiply(size_t M, size_t K, size_t N, const element *left, size_t row,
                     const element *packed, float *product, size_t stride, int add) {
    size_t blocks = round_up(K, DEEP) / DEEP, padded = round_up(N, LANES);
    for (size_t first = 0; first < M; first += BLOCK) {
        size_t rows = smaller(BLOCK, M - first);
        for (size_t n = 0; n < padded; n += WIDTH)
            for (int t = 0; t < tile_count(rows); t++) {
                size_t start = first + tile_start(rows, t), end = first + tile_start(rows, t + 1);
                multiply_tile((int)(end - start), (int)(smaller(WIDTH, padded - n) / LANES),
                              left + start * row, row, DEEP, packed + n * blocks * DEEP, blocks,
                              product + start * stride + n, stride, add);
            }
    }
}

#define DEPTH 1024 /* of the factors that `multiply_transposed` packs at a time */

static inline size_t transposed_scratch(size_t M) {
    return packed_left_size(M, DEPTH) + packed_size(DEPTH, WIDTH);
}

/* Multiply (K, M), transposed, by (K, N); overwrite the product, or add to it.
 *
 * The product has room for whole vectors.
 */
static void multiply_transposed(size_t M, size_t K, size_t N, const element *left,
                                size_t left_stride, const element *right, size_t right_stride,
                                float *product, size_t stride, int add, element *scratch) {
    for (size_t k = 0; k < K; k += DEPTH) {
        size_t depth = smaller(DEPTH, K - k), blocks = round_up(depth, DEEP) / DEEP;
        element *panel = scratch + packed_left_size(M, depth);
        pack_left(M, depth, left + k * left_stride, left_stride, scratch);
        for (size_t n = 0; n < N; n += WIDTH) {
            int columns = (int)(smaller(WIDTH, round_up(N - n, LANES)) / LANES);
            pack_right(depth, smaller(WIDTH, N - n), right + k * right_stride + n, right_stride,
                       panel);
            for (size_t m = 0; m < M; m += GROUP) {
                size_t rows = smaller(GROUP, M - m);
                for (int t = 0; t < tile_count(rows); t++) {
                    size_t start = tile_start(rows, t), end = tile_start(rows, t + 1);
                    multiply_tile((int)(end - start), columns,
                                  scratch + (m * blocks + start) * DEEP, DEEP, GROUP * DEEP, panel,
                                  blocks, product + (m + start) * stride + n, stride, add || k > 0);
                }
            }
        }
    }
}

#endif
