/* A step of AdamW (Loshchilov and Hutter 2019). */

#include "network.h"

#include <math.h>

void textgen_update(size_t count, const float *figures, const float *restrict gradients,
                    const float *restrict weights, const float *restrict means,
                    const float *restrict squares, float *restrict weights_after,
                    float *restrict means_after, float *restrict squares_after) {
    const float scale = figures[0], rate = figures[1], kept = figures[2], forgotten = figures[3],
                forgotten_squares = figures[4], epsilon = figures[5];
    for (size_t i = 0; i < count; i++) {
        float gradient = gradients[i] * scale;
        float mean = means[i] + (gradient - means[i]) * forgotten;
        float square = squares[i] + (gradient * gradient - squares[i]) * forgotten_squares;
        means_after[i] = mean;
        squares_after[i] = square;
        weights_after[i] = weights[i] * kept - rate * mean / (sqrtf(square) + epsilon);
    }
}
