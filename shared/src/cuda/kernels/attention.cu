// Self-attention within each review of a packed batch: softmax(q kᵀ / sqrt(d)) v in each head (Vaswani et al., "Attention Is All You Need",
// 2017). The weights are never stored: the forward pass sums them online (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018), and the backward pass
// recomputes them from the logarithm of their sum (Dao et al., "FlashAttention", 2022).
//
// A block computes one head for TILE neighbouring tokens of a review. It iterates over the review's tokens in tiles of TILE in shared memory. Each warp takes every
// ATTENTION_WARPS-th of the block's tokens. Its lanes are the tokens of the tile for scores, and the head's columns for sums of rows. Biases are added when q, k and v are read.

#define ATTENTION_THREADS (ATTENTION_WARPS * WARP)
#define TURNS (TILE / ATTENTION_WARPS)
// One more than a head, so that lanes that read a column read from different banks.
#define PADDED (HEAD + 1)
#define HEAD_COLUMNS ((HEAD + WARP - 1) / WARP)

#define EACH_TURN for (int t = 0; t < TURNS; t++)
#define EACH_HEAD_COLUMN for (int n = 0, c = lane; n < HEAD_COLUMNS; n++, c += WARP) if (c < HEAD)

// Loads one head of x + bias, times a factor, for the rows from `first`: up to `rows`; the others are zero.
INLINE void load_tile(float (*tile)[PADDED], const stored *x, unsigned stride, const float *bias, float factor, unsigned first, unsigned rows) {
    for (int i = threadIdx.x; i < TILE * HEAD; i += ATTENTION_THREADS) {
        int row = i / HEAD, column = i % HEAD;
        float value = 0.0f;
        if (first + row < rows) {
            value = widen(x[(size_t)(first + row) * stride + column]);
            if (bias) value += bias[column];
            value *= factor;
        }
        tile[row][column] = value;
    }
}

INLINE float dot(const float *a, const float *b) {
    float sum = 0.0f;
#pragma unroll 16
    for (int c = 0; c < HEAD; c++) sum += a[c] * b[c];
    return sum;
}

// sums[n] += Σ_i weight_i tile[i][column n of this lane] over the first `rows` rows of a tile, where lane i holds weight_i
INLINE void add_rows(float *sums, float weight, float (*tile)[PADDED], int rows, int lane) {
    for (int i = 0; i < rows; i++) {
        float w = __shfl_sync(FULL, weight, i);
        EACH_HEAD_COLUMN sums[n] += w * tile[i][c];
    }
}

// The tokens of a review that a block computes.
struct work {
    unsigned review, first, start, tokens;
    // Number of rows of q, and the first row.
    unsigned queries, query_row;
    unsigned head;
};

INLINE struct work work_of(struct attention of, int over_queries) {
    struct work w;
    int all = !of.first_only || !over_queries;
    w.review = all ? of.tiles[2 * blockIdx.x] : blockIdx.x;
    w.first = all ? of.tiles[2 * blockIdx.x + 1] : 0;
    w.start = of.starts[w.review];
    w.tokens = of.starts[w.review + 1] - w.start;
    w.queries = of.first_only ? 1 : w.tokens;
    w.query_row = of.first_only ? w.review : w.start;
    w.head = blockIdx.y;
    return w;
}

// The random stream for the weights of one query.
INLINE u64 weight_stream(struct attention of, struct work w, unsigned query) {
    return stream(stream(of.keys[w.review], of.site), ((u64)w.head << 32) | query);
}

// context (queries, WIDTH), and for each query and head the logarithm of the sum of its weights.
KERNEL(attention_forward, ATTENTION_THREADS) {
    SHARED float q[TILE][PADDED], k[TILE][PADDED], v[TILE][PADDED];
    struct attention of = a.of;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    struct work w = work_of(of, 1);
    unsigned column = w.head * HEAD;
    load_tile(q, of.q + (size_t)w.query_row * of.q_stride + column, of.q_stride, of.q_bias + column, of.scale, w.first, w.queries);
    float best[TURNS], total[TURNS], out[TURNS][HEAD_COLUMNS];
#pragma unroll
    EACH_TURN {
        best[t] = -1e30f;
        total[t] = 0.0f;
        for (int n = 0; n < HEAD_COLUMNS; n++) out[t][n] = 0.0f;
    }
    const stored *kv = of.kv + (size_t)w.start * of.kv_stride + column;
    for (unsigned at = 0; at < w.tokens; at += TILE) {
        __syncthreads();
        load_tile(k, kv, of.kv_stride, of.kv_bias + column, 1.0f, at, w.tokens);
        load_tile(v, kv + WIDTH, of.kv_stride, of.kv_bias + WIDTH + column, 1.0f, at, w.tokens);
        __syncthreads();
        int rows = w.tokens - at < TILE ? (int)(w.tokens - at) : TILE;
#pragma unroll
        EACH_TURN {
            int i = warp + t * ATTENTION_WARPS;
            if (w.first + i < w.queries) {
                float score = lane < rows ? dot(q[i], k[lane]) : -1e30f;
                float higher = fmaxf(best[t], warp_max(score));
                float fade = expf(best[t] - higher), weight = lane < rows ? expf(score - higher) : 0.0f;
                best[t] = higher;
                total[t] = total[t] * fade + warp_sum(weight);
                if (of.threshold && lane < rows) weight *= drop_factor(weight_stream(of, w, w.first + i), at + lane, of.threshold, of.drop_scale);
                for (int n = 0; n < HEAD_COLUMNS; n++) out[t][n] *= fade;
                add_rows(out[t], weight, v, rows, lane);
            }
        }
    }
#pragma unroll
    EACH_TURN {
        unsigned i = w.first + warp + t * ATTENTION_WARPS;
        if (i < w.queries) {
            size_t row = w.query_row + i;
            EACH_HEAD_COLUMN a.context[row * WIDTH + column + c] = narrow(out[t][n] / total[t]);
            if (lane == 0) a.log_sums[row * (WIDTH / HEAD) + w.head] = best[t] + logf(total[t]);
        }
    }
}

// With p the weights, m the dropout mask and grad the gradient with respect to context = (p m) v:
// dv = (p m)ᵀ grad, dp = (grad vᵀ) m, ds = p (dp - Σ p dp), dq = ds k / sqrt(d), dk = dsᵀ q / sqrt(d); and Σ p dp = grad · context.

// dq (queries); it also stores grad · context for the second kernel.
KERNEL(attention_backward_queries, ATTENTION_THREADS) {
    SHARED float q[TILE][PADDED], g[TILE][PADDED], k[TILE][PADDED], v[TILE][PADDED];
    struct attention of = a.of;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    struct work w = work_of(of, 1);
    unsigned column = w.head * HEAD;
    load_tile(q, of.q + (size_t)w.query_row * of.q_stride + column, of.q_stride, of.q_bias + column, of.scale, w.first, w.queries);
    load_tile(g, a.grad + (size_t)w.query_row * WIDTH + column, WIDTH, 0, 1.0f, w.first, w.queries);
    __syncthreads();
    float log_sum[TURNS], product[TURNS], dq[TURNS][HEAD_COLUMNS];
#pragma unroll
    EACH_TURN {
        int i = warp + t * ATTENTION_WARPS;
        log_sum[t] = product[t] = 0.0f;
        for (int n = 0; n < HEAD_COLUMNS; n++) dq[t][n] = 0.0f;
        if (w.first + i < w.queries) {
            size_t row = w.query_row + w.first + i;
            EACH_HEAD_COLUMN product[t] += g[i][c] * widen(a.context[row * WIDTH + column + c]);
            product[t] = warp_sum(product[t]);
            log_sum[t] = a.log_sums[row * (WIDTH / HEAD) + w.head];
            if (lane == 0) a.products[row * (WIDTH / HEAD) + w.head] = product[t];
        }
    }
    const stored *kv = of.kv + (size_t)w.start * of.kv_stride + column;
    for (unsigned at = 0; at < w.tokens; at += TILE) {
        __syncthreads();
        load_tile(k, kv, of.kv_stride, of.kv_bias + column, 1.0f, at, w.tokens);
        load_tile(v, kv + WIDTH, of.kv_stride, of.kv_bias + WIDTH + column, 1.0f, at, w.tokens);
        __syncthreads();
        int rows = w.tokens - at < TILE ? (int)(w.tokens - at) : TILE;
#pragma unroll
        EACH_TURN {
            int i = warp + t * ATTENTION_WARPS;
            if (w.first + i < w.queries) {
                float ds = 0.0f;
                if (lane < rows) {
                    float p = expf(dot(q[i], k[lane]) - log_sum[t]), dp = dot(g[i], v[lane]);
                    if (of.threshold) dp *= drop_factor(weight_stream(of, w, w.first + i), at + lane, of.threshold, of.drop_scale);
                    ds = p * (dp - product[t]) * of.scale;
                }
                add_rows(dq[t], ds, k, rows, lane);
            }
        }
    }
#pragma unroll
    EACH_TURN {
        unsigned i = w.first + warp + t * ATTENTION_WARPS;
        if (i < w.queries) {
            EACH_HEAD_COLUMN a.dq[(size_t)(w.query_row + i) * of.q_stride + column + c] = narrow(dq[t][n]);
        }
    }
}

// dk and dv (tokens): the block's tokens are keys, and the tiles are queries.
KERNEL(attention_backward_keys, ATTENTION_THREADS) {
    SHARED float q[TILE][PADDED], g[TILE][PADDED], k[TILE][PADDED], v[TILE][PADDED];
    SHARED u64 streams[TILE];
    struct attention of = a.of;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    struct work w = work_of(of, 0);
    unsigned column = w.head * HEAD;
    const stored *kv = of.kv + (size_t)w.start * of.kv_stride + column;
    load_tile(k, kv, of.kv_stride, of.kv_bias + column, 1.0f, w.first, w.tokens);
    load_tile(v, kv + WIDTH, of.kv_stride, of.kv_bias + WIDTH + column, 1.0f, w.first, w.tokens);
    float dk[TURNS][HEAD_COLUMNS], dv[TURNS][HEAD_COLUMNS];
#pragma unroll
    EACH_TURN {
        for (int n = 0; n < HEAD_COLUMNS; n++) dk[t][n] = dv[t][n] = 0.0f;
    }
    for (unsigned at = 0; at < w.queries; at += TILE) {
        __syncthreads();
        load_tile(q, of.q + (size_t)w.query_row * of.q_stride + column, of.q_stride, of.q_bias + column, of.scale, at, w.queries);
        load_tile(g, a.grad + (size_t)w.query_row * WIDTH + column, WIDTH, 0, 1.0f, at, w.queries);
        if (of.threshold && threadIdx.x < TILE) streams[threadIdx.x] = weight_stream(of, w, at + threadIdx.x);
        __syncthreads();
        int rows = w.queries - at < TILE ? (int)(w.queries - at) : TILE;
        float log_sum = 0.0f, product = 0.0f;
        if (lane < rows) {
            size_t row = (size_t)w.query_row + at + lane;
            log_sum = a.log_sums[row * (WIDTH / HEAD) + w.head];
            product = a.products[row * (WIDTH / HEAD) + w.head];
        }
#pragma unroll
        EACH_TURN {
            int j = warp + t * ATTENTION_WARPS;
            if (w.first + j < w.tokens) {
                float kept = 0.0f, ds = 0.0f;
                if (lane < rows) {
                    float p = expf(dot(q[lane], k[j]) - log_sum), dp = dot(g[lane], v[j]);
                    float factor = of.threshold ? drop_factor(streams[lane], w.first + j, of.threshold, of.drop_scale) : 1.0f;
                    kept = p * factor;
                    // q already contains the scale.
                    ds = p * (dp * factor - product);
                }
                add_rows(dv[t], kept, g, rows, lane);
                add_rows(dk[t], ds, q, rows, lane);
            }
        }
    }
    stored *dkv = a.dkv + (size_t)w.start * of.kv_stride + column;
#pragma unroll
    EACH_TURN {
        unsigned j = w.first + warp + t * ATTENTION_WARPS;
        if (j < w.tokens) {
            EACH_HEAD_COLUMN {
                dkv[(size_t)j * of.kv_stride + c] = narrow(dk[t][n]);
                dkv[(size_t)j * of.kv_stride + WIDTH + c] = narrow(dv[t][n]);
            }
        }
    }
}
