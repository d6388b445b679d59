/* The network in C, for generation: one step of all layers is one call.
 *
 * T steps, B rows, U units of a layer, V tokens, S numbers in the state of a row. Arrays are dense,
 * in C's order. The results of a row are the same to the last bit, however many rows are computed
 * with it, and however its tokens are divided between calls or threads.
 *
 * A call ends only when all of its `threads`, 1 or more, have ended. They divide the rows among
 * themselves. If a text of several steps is alone, two divide the recurrent kernels. The caller's
 * thread is one of them, and does the work of those that cannot be started.
 */

#ifndef TEXTGEN_SAMPLING_H
#define TEXTGEN_SAMPLING_H

#include "network.h"

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

/* Return the bytes that a call below works in, aligned to 64. */
EXPORT size_t textgen_room(const void *packed, int32_t rows, int32_t threads);

/* Read one token in each row, (B,). Return 0 without doing it if one is not in the vocabulary,
 * else 1.
 *
 * before, after: the states, (B, S).
 * logits: (B, V).
 */
EXPORT int textgen_step(const void *packed, int32_t rows, int32_t threads, const int64_t *tokens,
                        const float *before, float *after, float *logits, void *room);

/* Read the tokens of a batch, (T, B). Returns what `textgen_step` does.
 *
 * outputs: of the last layer, (T, B, U); or null.
 * traces: of each layer, the gates in Keras's order, (T, B, gates, U), h and, unless the cell is a
 * GRU, c, each (T, B, U); or null.
 */
EXPORT int textgen_read(const void *packed, int32_t steps, int32_t rows, int32_t threads,
                        const int64_t *tokens, const float *before, float *after, float *outputs,
                        float *const *traces, void *room);

/* Compute the logits, (rows, V), from outputs of the last layer, (rows, U). */
EXPORT void textgen_logits(const void *packed, int32_t rows, int32_t threads, const float *outputs,
                           float *logits);

#endif
