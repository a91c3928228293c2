// The head: from the pooler's product to logits, the loss and its gradient. A warp computes one review.

// logits (rows, LABELS) = dropout(activation(x + bias)) classifierᵀ + classifier_bias.
//
// In training it also computes the loss of each review, -Σ t_c ln p_c, with p = softmax(logits) and t its row of targets, which includes class weights, label smoothing and the
// division by the step's total weight; the gradient of the logits, p_c Σ t - t_c; and the gradient of x + bias, which replaces x. `pooled` keeps the classifier's input.
KERNEL(classify, HEAD_WARPS * WARP) {
    int lane = threadIdx.x % WARP;
    unsigned row = blockIdx.x * HEAD_WARPS + threadIdx.x / WARP;
    if (row >= a.rows) return;
    size_t at = (size_t)row * WIDTH;
    u64 key = a.threshold ? stream(stream(a.keys[row], a.site), 0) : 0;
    float x[CHUNKS][VEC], slopes[CHUNKS][VEC], logits[LABELS];
    for (int label = 0; label < LABELS; label++) logits[label] = 0.0f;
    EACH_CHUNK {
        float b[VEC];
        load(a.x + at + column, x[c]);
        load_f32(a.bias + column, b);
        EACH {
            float in = x[c][e] + b[e];
#if TANH
            x[c][e] = tanhf(in);
            slopes[c][e] = 1.0f - x[c][e] * x[c][e];
#else
            // Keeps a NaN, which fmaxf would hide.
            x[c][e] = in <= 0.0f ? 0.0f : in;
            slopes[c][e] = in > 0.0f ? 1.0f : 0.0f;
#endif
        }
        if (a.threshold) {
            drop(x[c], key, column, a.threshold, a.drop_scale);
            drop(slopes[c], key, column, a.threshold, a.drop_scale);
        }
        for (int label = 0; label < LABELS; label++) {
            float w[VEC];
            load_f32(a.classifier + label * WIDTH + column, w);
            EACH logits[label] += x[c][e] * w[e];
        }
    }
    float highest = -1e30f;
    for (int label = 0; label < LABELS; label++) {
        logits[label] = warp_sum(logits[label]) + a.classifier_bias[label];
        if (lane == 0) a.logits[(size_t)row * LABELS + label] = logits[label];
        highest = fmaxf(highest, logits[label]);
    }
    if (!a.labels) return;
    const float *targets = a.targets + a.labels[row] * LABELS;
    float sum = 0.0f, whole = 0.0f, loss = 0.0f;
    for (int label = 0; label < LABELS; label++) {
        sum += expf(logits[label] - highest);
        whole += targets[label];
    }
    float log_sum = logf(sum);
    for (int label = 0; label < LABELS; label++) {
        float log_share = logits[label] - highest - log_sum;
        loss -= targets[label] * log_share;
        logits[label] = expf(log_share) * whole - targets[label];
        if (lane == 0) a.d_logits[(size_t)row * LABELS + label] = logits[label];
    }
    if (lane == 0) a.losses[row] = loss;
    EACH_CHUNK {
        float d[VEC];
        EACH d[e] = 0.0f;
        for (int label = 0; label < LABELS; label++) {
            float w[VEC];
            load_f32(a.classifier + label * WIDTH + column, w);
            EACH d[e] += logits[label] * w[e];
        }
        EACH d[e] *= slopes[c][e];
        store(a.x + at + column, d);
        store_f32(a.pooled + at + column, x[c]);
    }
}

// The gradient of the classifier, (LABELS, WIDTH); the gradient of its bias goes to the first part (see columns.cu).
KERNEL(classifier_gradient, COLUMNS * GROUPS) {
    SHARED float room[GROUPS][COLUMNS];
    unsigned column = blockIdx.x * COLUMNS + threadIdx.x % COLUMNS, group = threadIdx.x / COLUMNS;
    float sums[LABELS], biases[LABELS];
    for (int label = 0; label < LABELS; label++) sums[label] = biases[label] = 0.0f;
    for (unsigned row = group; row < a.rows; row += GROUPS) {
        float x = column < WIDTH ? a.pooled[(size_t)row * WIDTH + column] : 0.0f;
        for (int label = 0; label < LABELS; label++) {
            float d = a.d_logits[(size_t)row * LABELS + label];
            sums[label] += d * x;
            biases[label] += d;
        }
    }
    for (int label = 0; label < LABELS; label++) {
        float sum = sum_groups(sums[label], room), bias = sum_groups(biases[label], room);
        if (group == 0 && column < WIDTH) {
            float *to = a.gradient + label * WIDTH + column;
            *to = a.add ? *to + sum : sum;
        }
        if (threadIdx.x == 0 && blockIdx.x == 0) a.parts[a.bias_at + label] = bias;
    }
}
