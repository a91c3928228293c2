// Shared by all kernels: types, rows in registers, sums over a warp, random numbers.
//
// The sources are the common subset of C and CUDA C. On a GPU, NVRTC compiles them at run time for the device and the model; in the tests, the system's
// C compiler does, and each thread of a block is a fiber (see emulated/runtime.c). The constants of the model are defined before this file:
//
//   WIDTH         hidden size                       HEAD      width of an attention head
//   INTERMEDIATE  width between the two feed-forward layers   LABELS    classes
//   RELU          the feed-forward activation is ReLU, not GELU
//   TANH          the pooler's activation is tanh (BERT), not ReLU (DistilBERT)
//   BF16          activations are stored as bfloat16, not f32
//
// with the sizes of blocks (program.rs), the type `stored` of activations, and the arguments of each kernel as a struct (arguments.rs).

#define FULL 0xffffffffu

// Elements that a thread reads at once: 16 bytes of bf16. All rows and tensors are aligned to that when both widths are multiples of it.
#if WIDTH % 8 == 0 && INTERMEDIATE % 8 == 0
#define VEC 8
#else
#define VEC 1
#endif

// A row of WIDTH elements is spread over a warp: element (c * WARP + lane) * VEC + e of the row is element [c][e] of the lane.
#define CHUNKS ((WIDTH + WARP * VEC - 1) / (WARP * VEC))

#define EACH_CHUNK for (int c = 0, column; c < CHUNKS; c++) if ((column = (c * WARP + lane) * VEC) < WIDTH)
#define EACH for (int e = 0; e < VEC; e++)
#define EACH_OWN for (int c = 0; c < CHUNKS; c++) if ((c * WARP + lane) * VEC < WIDTH) EACH


// bfloat16 is the upper half of an f32.
INLINE float from_bf16(unsigned short x) { return as_float((unsigned)x << 16); }

// Rounds to nearest, ties to even; a NaN stays a NaN.
INLINE unsigned short to_bf16(float x) {
    unsigned bits = as_bits(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)((bits >> 16) | 0x40u);
    return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if BF16
INLINE float widen(stored x) { return from_bf16(x); }
INLINE stored narrow(float x) { return to_bf16(x); }
#else
INLINE float widen(stored x) { return x; }
INLINE stored narrow(float x) { return x; }
#endif

// Loads and stores VEC neighbours.
#if VEC == 8
INLINE void load_f32(const float *from, float *to) {
    float4 a = ((const float4 *)from)[0], b = ((const float4 *)from)[1];
    to[0] = a.x; to[1] = a.y; to[2] = a.z; to[3] = a.w;
    to[4] = b.x; to[5] = b.y; to[6] = b.z; to[7] = b.w;
}
INLINE void store_f32(float *to, const float *from) {
    float4 a, b;
    a.x = from[0]; a.y = from[1]; a.z = from[2]; a.w = from[3];
    b.x = from[4]; b.y = from[5]; b.z = from[6]; b.w = from[7];
    ((float4 *)to)[0] = a;
    ((float4 *)to)[1] = b;
}
#else
INLINE void load_f32(const float *from, float *to) { to[0] = from[0]; }
INLINE void store_f32(float *to, const float *from) { to[0] = from[0]; }
#endif

#if VEC == 8 && BF16
INLINE void unpack(unsigned two, float *to) {
    to[0] = as_float(two << 16);
    to[1] = as_float(two & 0xffff0000u);
}
INLINE unsigned pack(const float *from) { return (unsigned)to_bf16(from[0]) | ((unsigned)to_bf16(from[1]) << 16); }
INLINE void load(const stored *from, float *to) {
    uint4 x = *(const uint4 *)from;
    unpack(x.x, to);
    unpack(x.y, to + 2);
    unpack(x.z, to + 4);
    unpack(x.w, to + 6);
}
INLINE void store(stored *to, const float *from) {
    uint4 x;
    x.x = pack(from);
    x.y = pack(from + 2);
    x.z = pack(from + 4);
    x.w = pack(from + 6);
    *(uint4 *)to = x;
}
#elif BF16
INLINE void load(const stored *from, float *to) { to[0] = widen(from[0]); }
INLINE void store(stored *to, const float *from) { to[0] = narrow(from[0]); }
#else
INLINE void load(const stored *from, float *to) { load_f32(from, to); }
INLINE void store(stored *to, const float *from) { store_f32(to, from); }
#endif

// The sum and the maximum over a warp, in every lane.
INLINE float warp_sum(float x) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(FULL, x, distance);
    return x;
}
INLINE float warp_max(float x) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) x = fmaxf(x, __shfl_xor_sync(FULL, x, distance));
    return x;
}

// Counter-based random numbers, bit for bit those of rng.rs.
INLINE u64 random_bits(u64 key, u64 counter) {
    u64 z = key + (counter + 1) * 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
INLINE u64 stream(u64 key, u64 name) { return random_bits(random_bits(key, name), name); }

// The dropout factor of element i of the row with stream `key`: 0 or the scale, depending on the i-th 16 bits of the stream (dropout.rs).
INLINE float drop_factor(u64 key, unsigned i, unsigned threshold, float scale) {
    unsigned draw = (unsigned)(random_bits(key, i / 4) >> (16 * (i % 4))) & 0xffffu;
    return draw < threshold ? 0.0f : scale;
}

// Multiplies VEC neighbours from column i by their dropout factors.
INLINE void drop(float *x, u64 key, unsigned i, unsigned threshold, float scale) {
#if VEC == 8
    u64 low = random_bits(key, i / 4), high = random_bits(key, i / 4 + 1);
    EACH {
        unsigned draw = (unsigned)((e < 4 ? low : high) >> (16 * (e % 4))) & 0xffffu;
        x[e] *= draw < threshold ? 0.0f : scale;
    }
#else
    x[0] *= drop_factor(key, i, threshold, scale);
#endif
}

// The review of a row of a packed batch, and its position in it. If only the first tokens are computed, row r is the first token of review r.
INLINE u64 row_stream(struct rows rows, unsigned row, u64 site) {
    u64 review = rows.keys[rows.first ? row : rows.reviews[row]];
    return stream(stream(review, site), rows.first ? 0 : rows.positions[row]);
}

// Sums over many rows use blocks of GROUPS x COLUMNS threads: a thread sums every GROUPS-th row of its column, then the groups are summed in order.
INLINE float sum_groups(float x, float (*room)[COLUMNS]) {
    int column = threadIdx.x % COLUMNS, group = threadIdx.x / COLUMNS;
    room[group][column] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int i = 0; i < GROUPS; i++) sum += room[i][column];
    __syncthreads();
    return sum;
}
