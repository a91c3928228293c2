// Row kernels: embeddings, residual and LayerNorm, and their backward passes. A warp holds a row in registers (Ba, Kiros, Hinton, "Layer Normalization", 2016: with the
// biased variance).

// x (a row) becomes LayerNorm(x); its mean and 1 / sqrt(variance + eps) are kept.
INLINE void normalise(float x[CHUNKS][VEC], const float *scale, const float *bias, float eps, float *moments, int lane) {
    float sum = 0.0f;
    EACH_OWN sum += x[c][e];
    float mean = warp_sum(sum) / WIDTH;
    float squares = 0.0f;
    EACH_OWN squares += (x[c][e] - mean) * (x[c][e] - mean);
    float inverse = 1.0f / sqrtf(warp_sum(squares) / WIDTH + eps);
    EACH_CHUNK {
        float s[VEC], b[VEC];
        load_f32(scale + column, s);
        load_f32(bias + column, b);
        EACH x[c][e] = (x[c][e] - mean) * inverse * s[e] + b[e];
    }
    if (lane == 0) {
        moments[0] = mean;
        moments[1] = inverse;
    }
}

// y = dropout(LayerNorm(word + position + segment)); the sum is kept. Rows: tokens.
KERNEL(embed, ROW_WARPS * WARP) {
    int lane = threadIdx.x % WARP;
    unsigned row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP;
    if (row >= a.rows) return;
    const float *word = a.words + (size_t)a.ids[row] * WIDTH, *position = a.position_table + (size_t)a.at.positions[row] * WIDTH;
    float x[CHUNKS][VEC];
    EACH_CHUNK {
        float p[VEC];
        load_f32(word + column, x[c]);
        load_f32(position + column, p);
        EACH x[c][e] += p[e];
        if (a.segment) {
            float s[VEC];
            load_f32(a.segment + column, s);
            EACH x[c][e] += s[e];
        }
        store(a.sum + (size_t)row * WIDTH + column, x[c]);
    }
    normalise(x, a.scale, a.bias, a.eps, a.moments + 2 * (size_t)row, lane);
    u64 key = a.threshold ? row_stream(a.at, row, a.site) : 0;
    EACH_CHUNK {
        if (a.threshold) drop(x[c], key, column, a.threshold, a.drop_scale);
        store(a.y + (size_t)row * WIDTH + column, x[c]);
    }
}

// y = LayerNorm(residual + dropout(x + x_bias)); the sum is kept.
KERNEL(add_norm, ROW_WARPS * WARP) {
    int lane = threadIdx.x % WARP;
    unsigned row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP;
    if (row >= a.rows) return;
    size_t at = (size_t)row * WIDTH;
    u64 key = a.threshold ? row_stream(a.at, row, a.site) : 0;
    float x[CHUNKS][VEC];
    EACH_CHUNK {
        float b[VEC], r[VEC];
        load(a.x + at + column, x[c]);
        load_f32(a.x_bias + column, b);
        load(a.residual + at + column, r);
        EACH x[c][e] += b[e];
        if (a.threshold) drop(x[c], key, column, a.threshold, a.drop_scale);
        EACH x[c][e] += r[e];
        store(a.sum + at + column, x[c]);
    }
    normalise(x, a.scale, a.bias, a.eps, a.moments + 2 * (size_t)row, lane);
    EACH_CHUNK store(a.y + at + column, x[c]);
}

// Backward pass of the dropout after the LayerNorm (`before`, in the order of this pass), of the LayerNorm, and of the dropout of the added output (`after`).
//
// dy becomes the gradient of the LayerNorm's input sum; `dropped`, if not null, receives the gradient of x + x_bias. With n the normalised row and
// h = dy * scale: d = (h - mean(h) - n mean(h n)) / sqrt(variance + eps). Block b of PARTS writes the sums over its rows to row b of `parts`: those of dy n (for the scale),
// of dy (for the bias) and of the resulting gradient (for x_bias, or for the segment embedding).
KERNEL(norm_backward, ROW_WARPS * WARP) {
    SHARED float totals[3][WIDTH];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    float sums[3][CHUNKS][VEC];
    for (int i = 0; i < 3; i++) for (int c = 0; c < CHUNKS; c++) EACH sums[i][c][e] = 0.0f;
    for (unsigned row = blockIdx.x * ROW_WARPS + warp; row < a.rows; row += gridDim.x * ROW_WARPS) {
        size_t at = (size_t)row * WIDTH;
        float mean = a.moments[2 * (size_t)row], inverse = a.moments[2 * (size_t)row + 1];
        float n[CHUNKS][VEC], d[CHUNKS][VEC];
        float h_sum = 0.0f, hn_sum = 0.0f;
        u64 key = a.threshold_before ? row_stream(a.at, row, a.site) : 0;
        EACH_CHUNK {
            float s[VEC];
            load(a.sum + at + column, n[c]);
            load_f32(a.dy + at + column, d[c]);
            load_f32(a.scale + column, s);
            if (a.threshold_before) drop(d[c], key, column, a.threshold_before, a.drop_scale);
            EACH {
                n[c][e] = (n[c][e] - mean) * inverse;
                sums[0][c][e] += d[c][e] * n[c][e];
                sums[1][c][e] += d[c][e];
                d[c][e] *= s[e];
                h_sum += d[c][e];
                hn_sum += d[c][e] * n[c][e];
            }
        }
        float h_mean = warp_sum(h_sum) / WIDTH, hn_mean = warp_sum(hn_sum) / WIDTH;
        key = a.threshold_after ? row_stream(a.at, row, a.site) : 0;
        EACH_CHUNK {
            EACH d[c][e] = (d[c][e] - h_mean - n[c][e] * hn_mean) * inverse;
            store_f32(a.dy + at + column, d[c]);
            if (a.threshold_after) drop(d[c], key, column, a.threshold_after, a.drop_scale);
            if (a.dropped) store(a.dropped + at + column, d[c]);
            EACH sums[2][c][e] += d[c][e];
        }
    }
    // The warps add in turn, so that the order of summation is fixed.
    for (int turn = 0; turn < ROW_WARPS; turn++) {
        if (warp == turn) {
            for (int i = 0; i < 3; i++) {
                EACH_CHUNK EACH totals[i][column + e] = turn == 0 ? sums[i][c][e] : totals[i][column + e] + sums[i][c][e];
            }
        }
        __syncthreads();
    }
    float *part = a.parts + (size_t)blockIdx.x * a.part_stride;
    for (int column = threadIdx.x; column < WIDTH; column += ROW_WARPS * WARP) {
        part[a.scale_at + column] = totals[0][column];
        part[a.bias_at + column] = totals[1][column];
        part[a.added_at + column] = totals[2][column];
    }
}

// Copies the first token's row of each review. Rows: reviews.
KERNEL(gather_first, ROW_WARPS * WARP) {
    int lane = threadIdx.x % WARP;
    unsigned row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP;
    if (row >= a.rows) return;
    EACH_CHUNK {
        float x[VEC];
        load(a.x + (size_t)a.starts[row] * WIDTH + column, x);
        store(a.first + (size_t)row * WIDTH + column, x);
    }
}

// The reverse, for gradients: rows of first tokens get the rows of the reviews; all others become zero. Rows: tokens.
KERNEL(scatter_first, ROW_WARPS * WARP) {
    int lane = threadIdx.x % WARP;
    unsigned row = blockIdx.x * ROW_WARPS + threadIdx.x / WARP;
    if (row >= a.rows) return;
    int is_first = a.positions[row] == 0;
    EACH_CHUNK {
        float x[VEC];
        EACH x[e] = 0.0f;
        if (is_first) load_f32(a.first + (size_t)a.reviews[row] * WIDTH + column, x);
        store_f32(a.x + (size_t)row * WIDTH + column, x);
    }
}
