// y = x - t above t, x + t below -t, 0 between: a branch, a choice, wider loads, or a ring of asynchronous copies.

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

namespace {

constexpr int THREADS = 256;
constexpr int STAGES = 4;
constexpr int RESIDENT_BLOCKS = 8;  // a multiprocessor: all of its 2048 threads

__device__ __forceinline__ float shrunk(float x, float t) { return x - fminf(fmaxf(x, -t), t); }

__device__ __forceinline__ float4 shrunk(float4 x, float t) {
    return make_float4(shrunk(x.x, t), shrunk(x.y, t), shrunk(x.z, t), shrunk(x.w, t));
}

__global__ void __launch_bounds__(THREADS) branched(const float* __restrict__ x, float* __restrict__ y, long long n, float t) {
    long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (i >= n) return;
    if (x[i] > t) {
        y[i] = x[i] - t;
    } else if (x[i] < -t) {
        y[i] = x[i] + t;
    } else {
        y[i] = 0.0f;
    }
}

__global__ void __launch_bounds__(THREADS) clamped(const float* __restrict__ x, float* __restrict__ y, long long n, float t) {
    long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (i < n) y[i] = shrunk(x[i], t);
}

__device__ __forceinline__ void last_ones(const float* x, float* y, long long n, float t) {
    long long i = n / 4 * 4 + threadIdx.x;
    if (blockIdx.x == 0 && i < n) y[i] = shrunk(x[i], t);
}

__global__ void __launch_bounds__(THREADS) wide(const float* __restrict__ x, float* __restrict__ y, long long n, float t) {
    long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (i < n / 4) reinterpret_cast<float4*>(y)[i] = shrunk(reinterpret_cast<const float4*>(x)[i], t);
    last_ones(x, y, n, t);
}

// Resident threads, each with a ring of four 16-byte slots of its own in shared memory: three loads are under way while one
// is used. A thread reads only what it copied itself, so nobody waits for anybody.
__global__ void __launch_bounds__(THREADS) ringed(const float* __restrict__ x, float* __restrict__ y, long long n, float t) {
    __shared__ alignas(16) float4 ring[STAGES][THREADS];
    const float4* from = reinterpret_cast<const float4*>(x);
    long long quads = n / 4, step = static_cast<long long>(gridDim.x) * THREADS;
    long long first = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    auto fetch = [&](long long turn) {
        long long i = first + turn * step;
        if (i < quads) __pipeline_memcpy_async(&ring[turn % STAGES][threadIdx.x], from + i, sizeof(float4));
        __pipeline_commit();  // an empty group where there is nothing left keeps the count of groups
    };
    for (int turn = 0; turn < STAGES - 1; ++turn) fetch(turn);
    for (long long turn = 0; first + turn * step < quads; ++turn) {
        fetch(turn + STAGES - 1);
        __pipeline_wait_prior(STAGES - 1);
        reinterpret_cast<float4*>(y)[first + turn * step] = shrunk(ring[turn % STAGES][threadIdx.x], t);
    }
    last_ones(x, y, n, t);
}

using Kernel = void (*)(const float*, float*, long long, float);

// A thread for `each` elements; at most `most` blocks.
int launch(Kernel kernel, const float* x, float* y, long long n, float t, int each, long long most, void* stream) {
    if (each > 1 && (reinterpret_cast<size_t>(x) | reinterpret_cast<size_t>(y)) % 16 != 0) return cudaErrorMisalignedAddress;
    long long blocks = (n / each + THREADS) / THREADS;
    kernel<<<static_cast<unsigned>(blocks < most ? blocks : most), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, n, t);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_branched(const float* x, float* y, long long n, float t, void* stream) {
    return launch(branched, x, y, n, t, 1, 1LL << 31, stream);
}

extern "C" int launch_clamped(const float* x, float* y, long long n, float t, void* stream) {
    return launch(clamped, x, y, n, t, 1, 1LL << 31, stream);
}

extern "C" int launch_wide(const float* x, float* y, long long n, float t, void* stream) {
    return launch(wide, x, y, n, t, 4, 1LL << 31, stream);
}

extern "C" int launch_ringed(const float* x, float* y, long long n, float t, void* stream) {
    int device = 0, processors = 1;
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
    return launch(ringed, x, y, n, t, 4, static_cast<long long>(RESIDENT_BLOCKS) * processors, stream);
}
