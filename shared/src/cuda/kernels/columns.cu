// Column kernels: the feed-forward activation with its bias, and sums over rows for the gradients of biases.
//
// A thread computes VEC columns of every row of its part, so that neighbouring threads read neighbouring memory and sums stay in registers. Block row b (blockIdx.y) of PARTS
// writes its sums to row b of `parts`; `sum_parts` adds these up in order.

#define HALF_SQRT 0.70710678118654752f
#define DENSITY 0.39894228040143268f

// activation(x): x Φ(x) (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016), or max(x, 0)
INLINE float activation(float x) {
#if RELU
    // Keeps a NaN, which fmaxf would hide.
    return x <= 0.0f ? 0.0f : x;
#else
    return x * (0.5f + 0.5f * erff(x * HALF_SQRT));
#endif
}

// Its derivative: Φ(x) + x φ(x), or [x > 0]
INLINE float slope(float x) {
#if RELU
    return x > 0.0f ? 1.0f : 0.0f;
#else
    return 0.5f + 0.5f * erff(x * HALF_SQRT) + x * DENSITY * expf(-0.5f * x * x);
#endif
}

// y = activation(x + bias), (rows, INTERMEDIATE)
KERNEL(activate, COLUMN_THREADS) {
    unsigned column = (blockIdx.x * COLUMN_THREADS + threadIdx.x) * VEC;
    if (column >= INTERMEDIATE) return;
    float bias[VEC];
    load_f32(a.bias + column, bias);
    for (unsigned row = blockIdx.y; row < a.rows; row += gridDim.y) {
        float x[VEC];
        size_t at = (size_t)row * INTERMEDIATE + column;
        load(a.x + at, x);
        EACH x[e] = activation(x[e] + bias[e]);
        store(a.y + at, x);
    }
}

// dy becomes the gradient with respect to x + bias, y = activation(x + bias) is recomputed, and the sums of that gradient go to `parts`.
KERNEL(activate_backward, COLUMN_THREADS) {
    unsigned column = (blockIdx.x * COLUMN_THREADS + threadIdx.x) * VEC;
    if (column >= INTERMEDIATE) return;
    float bias[VEC], sums[VEC];
    load_f32(a.bias + column, bias);
    EACH sums[e] = 0.0f;
    for (unsigned row = blockIdx.y; row < a.rows; row += gridDim.y) {
        float x[VEC], d[VEC], y[VEC];
        size_t at = (size_t)row * INTERMEDIATE + column;
        load(a.x + at, x);
        load(a.dy + at, d);
        EACH {
            float in = x[e] + bias[e];
            y[e] = activation(in);
            d[e] *= slope(in);
            sums[e] += d[e];
        }
        store(a.y + at, y);
        store(a.dy + at, d);
    }
    float *part = a.parts + (size_t)blockIdx.y * a.part_stride + a.bias_at;
    EACH part[column + e] = sums[e];
}

// The sums of the columns of x (rows, columns)
KERNEL(column_sums, COLUMN_THREADS) {
    unsigned column = (blockIdx.x * COLUMN_THREADS + threadIdx.x) * VEC;
    if (column >= a.columns) return;
    float sums[VEC];
    EACH sums[e] = 0.0f;
    for (unsigned row = blockIdx.y; row < a.rows; row += gridDim.y) {
        float x[VEC];
        load(a.x + (size_t)row * a.columns + column, x);
        EACH sums[e] += x[e];
    }
    float *part = a.parts + (size_t)blockIdx.y * a.part_stride + a.bias_at;
    EACH part[column + e] = sums[e];
}

// Sums all parts: the gradients of all vectors, followed by that of the first segment's row, if there is one.
KERNEL(sum_parts, COLUMNS * GROUPS) {
    SHARED float room[GROUPS][COLUMNS];
    unsigned column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS, group = threadIdx.x / COLUMNS;
    float sum = 0.0f;
    if (column < a.part_stride) {
        for (unsigned part = group; part < a.count; part += GROUPS) sum += a.parts[(size_t)part * a.part_stride + column];
    }
    sum = sum_groups(sum, room);
    if (group > 0 || column >= a.part_stride) return;
    float *to = column < a.vectors ? a.gradient + column : a.segment ? a.segment + column - a.vectors : 0;
    if (to) *to = a.add ? *to + sum : sum;
}
