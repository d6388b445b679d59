/* A step of AdamW (Loshchilov and Hutter 2019), cautious (Liang et al. 2024) if that is asked for.
 *
 * A cautious step leaves out the weights whose average gradient has another sign than the gradient
 * of this step, and is larger for the others in turn.
 */

#include "network.h"

#include <math.h>

#define SMALLEST_SHARE 1e-3f /* of the weights that agree */

void textgen_update(size_t count, const float *figures, const float *restrict gradients,
                    const float *restrict weights, const float *restrict means,
                    const float *restrict squares, float *restrict weights_after,
                    float *restrict means_after, float *restrict squares_after) {
    const float scale = figures[0], rate = figures[1], kept = figures[2], forgotten = figures[3],
                forgotten_squares = figures[4], epsilon = figures[5];
    const int cautious = figures[6] != 0;
    size_t agreeing = 0;
    for (size_t i = 0; i < count; i++) {
        float gradient = gradients[i] * scale;
        float mean = means[i] + (gradient - means[i]) * forgotten;
        float square = squares[i] + (gradient * gradient - squares[i]) * forgotten_squares;
        int agrees = !cautious || mean * gradient > 0;
        agreeing += agrees;
        means_after[i] = mean;
        squares_after[i] = square;
        weights_after[i] = agrees ? mean / (sqrtf(square) + epsilon) : 0;
    }
    float share = (float)agreeing / (float)count;
    float step = rate / (share > SMALLEST_SHARE ? share : SMALLEST_SHARE);
    for (size_t i = 0; i < count; i++)
        weights_after[i] = weights[i] * kept - step * weights_after[i];
}
