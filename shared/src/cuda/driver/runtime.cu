// What the kernels need beside CUDA itself.

typedef unsigned long long u64;
typedef unsigned long size_t;

#define INLINE static __device__ __forceinline__
#define SHARED __shared__
#define KERNEL(name, threads) extern "C" __global__ void __launch_bounds__(threads) name(struct name##_arguments a)

INLINE float as_float(unsigned bits) { return __uint_as_float(bits); }
INLINE unsigned as_bits(float x) { return __float_as_uint(x); }
