// Gradients of the embeddings: the gradient of a row is the sum over the tokens that use it. A block computes COLUMNS columns of a row and adds the tokens in a fixed order.

#define ROWS_FIRST 0x80000000u

// Words: only rows that occur in the batch. The host has sorted the tokens by id: those of the block's id are order[starts[i]..starts[i + 1]]. The highest bit of the id is set
// if it occurs for the first time in this step; the row then gets the step's mark. Rows without the step's mark hold old values and count as zero.
KERNEL(word_gradient, COLUMNS * GROUPS) {
    SHARED float room[GROUPS][COLUMNS];
    unsigned column = blockIdx.y * COLUMNS + threadIdx.x % COLUMNS, group = threadIdx.x / COLUMNS;
    unsigned id = a.ids[blockIdx.x] & ~ROWS_FIRST, is_first = a.ids[blockIdx.x] & ROWS_FIRST;
    float sum = 0.0f;
    if (column < WIDTH) {
        for (unsigned i = a.starts[blockIdx.x] + group; i < a.starts[blockIdx.x + 1]; i += GROUPS) sum += a.dx[(size_t)a.order[i] * WIDTH + column];
    }
    sum = sum_groups(sum, room);
    if (group == 0 && column < WIDTH) {
        float *to = a.gradient + (size_t)id * WIDTH + column;
        *to = is_first ? sum : *to + sum;
    }
    if (threadIdx.x == 0) a.marks[id] = a.mark;
}

// Positions: every review longer than p contributes to row p.
KERNEL(position_gradient, COLUMNS * GROUPS) {
    SHARED float room[GROUPS][COLUMNS];
    unsigned position = blockIdx.x, column = blockIdx.y * COLUMNS + threadIdx.x % COLUMNS, group = threadIdx.x / COLUMNS;
    float sum = 0.0f;
    if (column < WIDTH) {
        for (unsigned review = group; review < a.reviews; review += GROUPS) {
            unsigned token = a.starts[review] + position;
            if (token < a.starts[review + 1]) sum += a.dx[(size_t)token * WIDTH + column];
        }
    }
    sum = sum_groups(sum, room);
    if (group == 0 && column < WIDTH) a.gradient[(size_t)position * WIDTH + column] += sum;
}
