// The parts of CUDA that the kernels need, for a CPU. The tests compile this file followed by the kernels.
//
// Each thread of a block is a fiber. Fibers run in turn, each until it waits for the block (__syncthreads) or for its warp (a shuffle). This is stricter than a GPU: all threads of
// a block must reach every barrier, and all threads of a warp the same shuffle, in the same line.

#define _GNU_SOURCE
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

typedef unsigned long long u64;
typedef struct { float x, y, z, w; } __attribute__((aligned(16))) float4;
typedef struct { unsigned x, y, z, w; } __attribute__((aligned(16))) uint4;

#define INLINE static inline __attribute__((unused))
// One block runs at a time.
#define SHARED static

#define LANES 32
#define MOST_THREADS 1024
#define STACK (64 * 1024)

struct index { unsigned x, y, z; };
struct index threadIdx, blockIdx, gridDim;

struct warp {
    double sent[LANES], received[LANES];
    int arrived, phase, line;
};

static struct warp warps[MOST_THREADS / LANES];
static int current, threads, arrived, phase, moved, done[MOST_THREADS];
static const char *fault;
static void (*body)(const void *);
static const void *arguments;

static void fiber_main(void);

// Fibers: `enter` switches to a fiber, `yield` back to its caller.
#if defined(__x86_64__)
static char *scheduler, *fibers[MOST_THREADS];
// Saves the callee-saved registers on the stack and switches to another stack.
void starsight_switch(char **from, char *to);
__asm__(
    ".text\n.hidden starsight_switch\n.type starsight_switch,@function\nstarsight_switch:\n"
    "push %rbp\npush %rbx\npush %r12\npush %r13\npush %r14\npush %r15\n"
    "mov %rsp,(%rdi)\nmov %rsi,%rsp\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\npop %rbp\nret\n");
static void make_fiber(int i, char *stack) {
    // Six registers, the return address, and a dummy return address for the stack's alignment.
    void **top = (void **)(stack + STACK) - 8;
    top[6] = (void *)fiber_main;
    fibers[i] = (char *)top;
}
static void enter(int i) { starsight_switch(&scheduler, fibers[i]); }
static void yield(void) { starsight_switch(&fibers[current], scheduler); }
#else
static ucontext_t scheduler, fibers[MOST_THREADS];
static void make_fiber(int i, char *stack) {
    getcontext(&fibers[i]);
    fibers[i].uc_stack.ss_sp = stack;
    fibers[i].uc_stack.ss_size = STACK;
    makecontext(&fibers[i], fiber_main, 0);
}
static void enter(int i) { swapcontext(&scheduler, &fibers[i]); }
static void yield(void) { swapcontext(&fibers[current], &scheduler); }
#endif

static void fiber_main(void) {
    for (;;) {
        body(arguments);
        done[current] = moved = 1;
        yield();
    }
}

static int ready;

static void make_fibers(void) {
    char *stacks = mmap(0, (size_t)MOST_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (int i = 0; i < MOST_THREADS; i++) make_fiber(i, stacks + (size_t)i * STACK);
    ready = 1;
}

static void run_block(void) {
    int left = threads;
    memset(done, 0, sizeof done);
    memset(warps, 0, sizeof warps);
    arrived = 0;
    while (left > 0 && !fault) {
        moved = 0;
        left = 0;
        for (int i = 0; i < threads; i++) {
            if (done[i]) continue;
            current = threadIdx.x = i;
            enter(i);
            left += !done[i];
        }
        if (left > 0 && !moved && !fault) fault = "threads wait for others that have ended";
    }
}

static const char *run(void (*of)(const void *), const unsigned grid[3], unsigned block, const void *with) {
    if (!ready) make_fibers();
    body = of;
    arguments = with;
    threads = block;
    fault = 0;
    gridDim.x = grid[0], gridDim.y = grid[1], gridDim.z = grid[2];
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx.x = x, blockIdx.y = y, blockIdx.z = z;
                run_block();
                if (fault) {
                    // Its fibers cannot continue; new ones replace them.
                    ready = 0;
                    return fault;
                }
            }
    return 0;
}

INLINE void synchronise(void) {
    int mine = phase;
    moved = 1;
    if (++arrived == threads) {
        arrived = 0;
        phase++;
    }
    while (phase == mine) yield();
}

INLINE double shuffle(double value, int from, int line) {
    struct warp *warp = &warps[threadIdx.x / LANES];
    int mine = warp->phase;
    if (warp->arrived > 0 && warp->line != line) fault = "lanes of a warp shuffle in different lines";
    warp->line = line;
    warp->sent[threadIdx.x % LANES] = value;
    moved = 1;
    if (++warp->arrived == LANES) {
        memcpy(warp->received, warp->sent, sizeof warp->sent);
        warp->arrived = 0;
        warp->phase++;
    }
    while (warp->phase == mine) yield();
    return warp->received[from];
}

#define __syncthreads() synchronise()
#define __shfl_sync(mask, value, from) ((__typeof__(value))shuffle(value, from, __LINE__))
#define __shfl_xor_sync(mask, value, distance) ((__typeof__(value))shuffle(value, (int)(threadIdx.x % LANES) ^ (distance), __LINE__))

INLINE float as_float(unsigned bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
INLINE unsigned as_bits(float x) {
    unsigned bits;
    memcpy(&bits, &x, 4);
    return bits;
}

// Defines a kernel and the function that launches it, which returns an error message or null.
#define KERNEL(name, threads)                                                                     \
    static void name##_body(struct name##_arguments a);                                           \
    static void name##_entry(const void *of) { name##_body(*(const struct name##_arguments *)of); } \
    const char *name(const unsigned grid[3], unsigned block, const void *of) {                    \
        if (block != (threads)) return "a block of another size than the kernel was written for"; \
        return run(name##_entry, grid, block, of);                                                \
    }                                                                                             \
    static void name##_body(struct name##_arguments a)
