// y = 2 x + 1 over float32, by five kernels that differ in how many bytes a multiprocessor has asked for and not yet got.
//
// Little's law: bytes in flight = bandwidth x latency. At 4.8 TB/s and some 700 ns, half of it reads, a device wants 1.7 MB of
// reads on their way, 13 KB for each of 132 multiprocessors. 2,048 resident threads with one float each are 8 KB.

#include <cuda_runtime.h>

namespace {

constexpr int THREADS = 256;
constexpr int UNROLL = 4;

__device__ __forceinline__ float affine(float x) { return fmaf(2.0f, x, 1.0f); }

__device__ __forceinline__ float4 affine(float4 v) {
    return make_float4(affine(v.x), affine(v.y), affine(v.z), affine(v.w));
}

// `each` elements of type T a thread, THREADS apart, so that a warp's addresses are neighbours; all loads before any store.
template <typename T, int each>
__global__ void __launch_bounds__(THREADS) scale(const T* __restrict__ x, T* __restrict__ y, size_t n) {
    size_t at = static_cast<size_t>(blockIdx.x) * THREADS * each + threadIdx.x;
    T held[each];
#pragma unroll
    for (int i = 0; i < each; ++i)
        if (at + i * THREADS < n) held[i] = x[at + i * THREADS];
#pragma unroll
    for (int i = 0; i < each; ++i)
        if (at + i * THREADS < n) y[at + i * THREADS] = affine(held[i]);
}

__global__ void __launch_bounds__(THREADS) strided(const float* __restrict__ x, float* __restrict__ y, size_t n) {
    size_t step = static_cast<size_t>(gridDim.x) * THREADS;
    for (size_t at = static_cast<size_t>(blockIdx.x) * THREADS + threadIdx.x; at < n; at += step) y[at] = affine(x[at]);
}

__global__ void rest(const float* __restrict__ x, float* __restrict__ y, size_t from, size_t n) {
    size_t at = from + threadIdx.x;
    if (at < n) y[at] = affine(x[at]);
}

unsigned blocks(size_t count, size_t a_block) { return static_cast<unsigned>((count + a_block - 1) / a_block); }

template <typename T, int each>
int launch(const float* x, float* y, long long n, void* stream) {
    constexpr size_t words = sizeof(T) / sizeof(float);
    size_t whole = static_cast<size_t>(n) / words;
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    if (whole > 0)
        scale<T, each><<<blocks(whole, THREADS * each), THREADS, 0, on>>>(reinterpret_cast<const T*>(x), reinterpret_cast<T*>(y), whole);
    if (whole * words < static_cast<size_t>(n)) rest<<<1, 32, 0, on>>>(x, y, whole * words, static_cast<size_t>(n));
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_scalar(const float* x, float* y, long long n, void* stream) { return launch<float, 1>(x, y, n, stream); }

extern "C" int launch_unrolled(const float* x, float* y, long long n, void* stream) {
    return launch<float, UNROLL>(x, y, n, stream);
}

extern "C" int launch_vector(const float* x, float* y, long long n, void* stream) { return launch<float4, 1>(x, y, n, stream); }

extern "C" int launch_vector_unrolled(const float* x, float* y, long long n, void* stream) {
    return launch<float4, UNROLL>(x, y, n, stream);
}

extern "C" int launch_strided(const float* x, float* y, long long n, void* stream) {
    static thread_local int processors[64];
    int device = 0;
    cudaError_t code = cudaGetDevice(&device);
    if (code == cudaSuccess && processors[device % 64] == 0)
        code = cudaDeviceGetAttribute(&processors[device % 64], cudaDevAttrMultiProcessorCount, device);
    if (code != cudaSuccess) return static_cast<int>(code);
    // 8 blocks of 256 threads are all that a multiprocessor holds
    strided<<<processors[device % 64] * 8, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, static_cast<size_t>(n));
    return static_cast<int>(cudaGetLastError());
}
