/* The network in C, for generation: one step of all layers is one call.
 *
 * T steps, B rows, U units of a layer, V tokens, S numbers in the state of a row. Arrays are dense,
 * in C's order. The results of a row are the same to the last bit, however many rows are computed
 * with it, and however its tokens are divided between calls.
 */

#ifndef TEXTGEN_SAMPLING_H
#define TEXTGEN_SAMPLING_H

#include "network.h"

/* Threads that work in step. `arrived` and `turn` are zero at first. */
typedef struct {
    int32_t members;
    _Atomic int32_t arrived, turn;
} Team;

/* Return the bytes of packed weights; they must be aligned to 64.
 *
 * half: whether kernels are rounded to float16, which takes half the time where memory is the
 * limit.
 */
EXPORT size_t textgen_packed_bytes(const Network *network, int half);

/* Rearrange the weights: embedding; kernel, recurrent kernel and bias of each layer; output kernel
 * and bias. The embedding of a large vocabulary is not copied, so it must outlive `packed`.
 */
EXPORT void textgen_pack(const Network *network, int half, const float *const *weights,
                         void *packed);

/* Return S. A state of zeros is the one at the start of a text. */
EXPORT size_t textgen_state_size(const void *packed);

/* Return the bytes that the functions below work in for so many rows, aligned to 64. */
EXPORT size_t textgen_room(const void *packed, int32_t rows);

/* Read one token in each row, (B,). Return 0 without doing it if one is not in the vocabulary,
 * else 1.
 *
 * before, after: the states, (B, S).
 * logits: (B, V).
 */
EXPORT int textgen_step(const void *packed, int32_t rows, const int64_t *tokens,
                        const float *before, float *after, float *logits, void *room);

/* Read the tokens of some rows of a batch, (T, B). The pointers are those of the first of these
 * rows. Returns what `textgen_step` does.
 *
 * outputs: of the last layer, (T, B, U).
 * traces: of each layer, the gates in Keras's order, (T, B, gates, U), h and, unless the cell is a
 * GRU, c, each (T, B, U); or null.
 * team: null; or where several threads meet, which all call this with the same arguments but for
 * `member`, a number from 0 on. Each multiplies by a part of the recurrent kernels.
 */
EXPORT int textgen_read(const void *packed, int32_t steps, int32_t batch, int32_t rows,
                        const int64_t *tokens, const float *before, float *after, float *outputs,
                        float *const *traces, void *room, Team *team, int32_t member);

/* Compute the logits, (rows, V), from outputs of the last layer, (rows, U). */
EXPORT void textgen_logits(const void *packed, int32_t rows, const float *outputs, float *logits);

#endif
