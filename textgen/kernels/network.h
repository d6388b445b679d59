/* The network in C: what training and sampling have in common, and the functions for training.
 *
 * T steps, B rows, E numbers of an embedding, U units of a layer, V tokens that can be read, C
 * tokens that can be predicted. Arrays are dense, in C's order, in float32. Weights have Keras's
 * layout. Gates are i, f, c, o of an LSTM; z, r, h of a GRU, whose bias has two rows; and f, c, o
 * of a CIFG, an LSTM whose i is 1 - f.
 */

#ifndef TEXTGEN_NETWORK_H
#define TEXTGEN_NETWORK_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

enum { LSTM, GRU, CIFG };

typedef struct {
    int32_t cell;
    int32_t layers;
    int32_t embedding;  /* E */
    int32_t vocabulary; /* V */
    int32_t outputs;    /* C: V, or fewer for a sampled softmax */
    int32_t transposed; /* whether the output kernel is (C, U), not (U, C) */
    const int32_t *units;
} Network;

static inline size_t gate_count(int cell) { return cell == LSTM ? 4 : 3; }

/* The texts of a batch, and what is done to the network for them. */
typedef struct {
    int32_t steps, rows;
    const int32_t *tokens;     /* (T, B) */
    const int32_t *targets;    /* (T, B): the token after each */
    const uint8_t *counts;     /* (T, B): whether its loss counts */
    const uint8_t *resets;     /* (T, B): whether the state is set to zero before a step; or null */
    const float *const *masks; /* for each layer, (B, U): factors of its outputs; or null */
} TextBatch;

/* Return the cross-entropy in nats, summed over the targets that count.
 *
 * weights: embedding (V, E); kernel, recurrent kernel and bias of each layer; output kernel and
 * output bias (C).
 * states: of each layer before the first step, h and, unless the cell is a GRU, c, each (B, U).
 * states_after: the same after the last step.
 * gradients: of the weights, in the order and the shapes of the weights; or null.
 * workspace: `textgen_workspace` bytes, aligned to 64.
 */
EXPORT double textgen_loss(const Network *network, const TextBatch *batch,
                           const float *const *weights, const float *const *states,
                           float *const *states_after, float *const *gradients, void *workspace);

/* Return the bytes that `textgen_loss` works in. */
EXPORT size_t textgen_workspace(const Network *network, const TextBatch *batch, int gradients);

/* Make a step of AdamW with so many weights, their gradients, and the moving averages of those and
 * of their squares.
 *
 * figures: a factor of the gradients, the step's size, a factor of the weights, what the two
 * averages forget, epsilon, and whether the step is cautious: 1 or 0.
 */
EXPORT void textgen_update(size_t count, const float *figures, const float *gradients,
                           const float *weights, const float *means, const float *squares,
                           float *weights_after, float *means_after, float *squares_after);

#endif
