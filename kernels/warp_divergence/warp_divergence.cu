// A leaky integrator, 256 steps of v = rate * v + x, where the rate depends on the sign of x.
//
// The threads of a warp that disagree on a branch go through both sides, one after the other. Three ways to write it:
// a branch around the loop, both loops for everyone and a choice at the end, or a choice of the operand before one loop.

#include <cuda_runtime.h>

namespace {

constexpr int STEPS = 256;
constexpr int THREADS = 256;
constexpr float RISING = 0.75f;
constexpr float FALLING = 0.5f;

__device__ __forceinline__ float integrate(float x, float rate) {
    float v = 0.0f;
#pragma unroll 8
    for (int i = 0; i < STEPS; ++i) v = fmaf(v, rate, x);
    return v;
}

__global__ void __launch_bounds__(THREADS) branched(const float* __restrict__ x, float* __restrict__ y, int n) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    if (x[i] > 0.0f) {
        y[i] = integrate(x[i], RISING);
    } else {
        y[i] = integrate(x[i], FALLING);
    }
}

__global__ void __launch_bounds__(THREADS) both_sides(const float* __restrict__ x, float* __restrict__ y, int n) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    float up = 0.0f, down = 0.0f;
#pragma unroll 8
    for (int step = 0; step < STEPS; ++step) {
        up = fmaf(up, RISING, x[i]);
        down = fmaf(down, FALLING, x[i]);
    }
    y[i] = x[i] > 0.0f ? up : down;
}

__global__ void __launch_bounds__(THREADS) selected(const float* __restrict__ x, float* __restrict__ y, int n) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    y[i] = integrate(x[i], x[i] > 0.0f ? RISING : FALLING);
}

template <typename Kernel>
int launch(Kernel kernel, const float* x, float* y, int n, void* stream) {
    kernel<<<(n + THREADS - 1) / THREADS, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, n);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_branched(const float* x, float* y, int n, void* stream) { return launch(branched, x, y, n, stream); }

extern "C" int launch_both_sides(const float* x, float* y, int n, void* stream) { return launch(both_sides, x, y, n, stream); }

extern "C" int launch_selected(const float* x, float* y, int n, void* stream) { return launch(selected, x, y, n, stream); }
