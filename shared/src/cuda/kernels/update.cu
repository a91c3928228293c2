// The optimiser: the gradient's norm, and AdamW over all tensors in one launch each (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, as PyTorch
// computes it). The host has cut the trained tensors into pieces of some ten thousand elements, each within one tensor; a block processes one piece.

#define BETA1 0.9f
#define BETA2 0.999f
#define ADAM_EPS 1e-8f

#if VEC == 8
#define QUAD 4
#else
#define QUAD 1
#endif

// QUAD neighbours at once, then the remaining elements one by one.
INLINE void load_quad(const float *from, float *to) {
#if QUAD == 4
    float4 x = *(const float4 *)from;
    to[0] = x.x; to[1] = x.y; to[2] = x.z; to[3] = x.w;
#else
    to[0] = from[0];
#endif
}
INLINE void store_quad(float *to, const float *from) {
#if QUAD == 4
    float4 x;
    x.x = from[0]; x.y = from[1]; x.z = from[2]; x.w = from[3];
    *(float4 *)to = x;
#else
    to[0] = from[0];
#endif
}

// Whether element i of the word embedding or of another tensor has a gradient in this step.
INLINE int has_gradient(struct weights w, unsigned i) { return i < w.words || w.marks[(i - w.words) / WIDTH] == w.mark; }

// The sum of squares of each piece of the gradient.
KERNEL(square_sums, UPDATE_THREADS) {
    SHARED float room[UPDATE_THREADS / WARP];
    struct piece piece = a.pieces[blockIdx.x];
    float sum = 0.0f;
    unsigned whole = piece.length / QUAD * QUAD, end = piece.start + piece.length;
    for (unsigned i = piece.start + threadIdx.x * QUAD; i < piece.start + whole; i += UPDATE_THREADS * QUAD) {
        if (has_gradient(a.of, i)) {
            float g[QUAD];
            load_quad(a.of.gradient + i, g);
            for (int e = 0; e < QUAD; e++) sum += g[e] * g[e];
        }
    }
    for (unsigned i = piece.start + whole + threadIdx.x; i < end; i += UPDATE_THREADS) {
        if (has_gradient(a.of, i)) sum += a.of.gradient[i] * a.of.gradient[i];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % WARP == 0) room[threadIdx.x / WARP] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int i = 1; i < UPDATE_THREADS / WARP; i++) sum += room[i];
        a.sums[blockIdx.x] = sum;
    }
}

// One block: the sums of squares of whole tensors, the norm, the factor that clips it, and the mean loss. A NaN or infinite norm or loss halts the optimiser:
// no later step changes the weights.
KERNEL(clip, CLIP_WARPS * WARP) {
    SHARED double room[CLIP_WARPS];
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    for (unsigned tensor = warp; tensor < a.tensors; tensor += CLIP_WARPS) {
        double sum = 0.0;
        for (unsigned i = a.piece_starts[tensor] + lane; i < a.piece_starts[tensor + 1]; i += WARP) sum += a.sums[i];
        for (int distance = WARP / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(FULL, sum, distance);
        if (lane == 0) a.report[2 + tensor] = (float)sum;
    }
    double loss = 0.0;
    for (unsigned i = threadIdx.x; i < a.reviews; i += CLIP_WARPS * WARP) loss += a.losses[i];
    for (int distance = WARP / 2; distance > 0; distance /= 2) loss += __shfl_xor_sync(FULL, loss, distance);
    if (lane == 0) room[warp] = loss;
    __syncthreads();
    if (threadIdx.x == 0) {
        double squares = 0.0;
        for (unsigned i = 0; i < a.tensors; i++) squares += a.report[2 + i];
        for (int i = 1; i < CLIP_WARPS; i++) loss += room[i];
        float norm = (float)sqrt(squares);
        // As torch.nn.utils.clip_grad_norm_. False for a NaN.
        int moves = norm < 1e38f && (float)loss - (float)loss == 0.0f && !a.state->halted;
        a.state->clip = fminf(a.max_norm / (norm + 1e-6f), 1.0f);
        a.state->halted = !moves;
        a.report[1] = norm;
        a.report[0] = (float)loss;
    }
}

// p <- shrink p - size m / (sqrt(v) / root + eps), with m <- beta1 m + (1 - beta1) g and v <- beta2 v + (1 - beta2) g²
INLINE void move(float *p, float g, float *m, float *v, float clip, float shrink, float size, float root) {
    g *= clip;
    *m = BETA1 * *m + (1.0f - BETA1) * g;
    *v = BETA2 * *v + (1.0f - BETA2) * (g * g);
    *p = *p * shrink - size * *m / (sqrtf(*v) / root + ADAM_EPS);
}

KERNEL(adamw, UPDATE_THREADS) {
    if (a.state->halted) return;
    struct piece piece = a.pieces[blockIdx.x];
    float clip = a.state->clip, shrink = a.rates[2 * piece.tensor], size = a.rates[2 * piece.tensor + 1];
    unsigned whole = piece.length / QUAD * QUAD, end = piece.start + piece.length;
    for (unsigned i = piece.start + threadIdx.x * QUAD; i < piece.start + whole; i += UPDATE_THREADS * QUAD) {
        float p[QUAD], g[QUAD], m[QUAD], v[QUAD];
        load_quad(a.values + i, p);
        load_quad(a.first + i, m);
        load_quad(a.second + i, v);
        for (int e = 0; e < QUAD; e++) g[e] = 0.0f;
        if (has_gradient(a.of, i)) load_quad(a.of.gradient + i, g);
        for (int e = 0; e < QUAD; e++) move(p + e, g[e], m + e, v + e, clip, shrink, size, a.root);
        store_quad(a.values + i, p);
        store_quad(a.first + i, m);
        store_quad(a.second + i, v);
#if BF16
        if (i < a.matrices) for (int e = 0; e < QUAD; e++) a.halves[i + e] = to_bf16(p[e]);
#endif
    }
    for (unsigned i = piece.start + whole + threadIdx.x; i < end; i += UPDATE_THREADS) {
        float g = has_gradient(a.of, i) ? a.of.gradient[i] : 0.0f;
        move(a.values + i, g, a.first + i, a.second + i, clip, shrink, size, a.root);
#if BF16
        if (i < a.matrices) a.halves[i] = to_bf16(a.values[i]);
#endif
    }
}

// The bf16 copy of the matrices, computed once; AdamW updates it.
KERNEL(round_matrices, UPDATE_THREADS) {
    for (unsigned i = blockIdx.x * UPDATE_THREADS + threadIdx.x; i < a.count; i += gridDim.x * UPDATE_THREADS) a.halves[i] = to_bf16(a.values[i]);
}
