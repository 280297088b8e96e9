// A polynomial of degree 31: a chain of 31 dependent multiply-adds for each element, and three ways to fill the waiting.

#include <cuda_runtime.h>

namespace {

constexpr int THREADS = 256;
constexpr int TERMS = 32;

// The loop as it is written: a coefficient is fetched, then one multiply-add waits for the one before.
__global__ void __launch_bounds__(THREADS) rolled(const float* __restrict__ x, const float* __restrict__ c, float* __restrict__ y,
                                                  int n) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    float value = x[i], sum = c[TERMS - 1];
#pragma unroll 1
    for (int k = TERMS - 2; k >= 0; --k) sum = fmaf(sum, value, c[k]);
    y[i] = sum;
}

// CHAINS elements a thread, THREADS apart: independent chains, and each coefficient is fetched once for all of them.
template <int CHAINS>
__global__ void __launch_bounds__(THREADS) unrolled(const float* __restrict__ x, const float* __restrict__ c, float* __restrict__ y,
                                                    int n) {
    int first = blockIdx.x * THREADS * CHAINS + threadIdx.x;
    float value[CHAINS], sum[CHAINS];
#pragma unroll
    for (int j = 0; j < CHAINS; ++j) {
        value[j] = first + j * THREADS < n ? x[first + j * THREADS] : 0.0f;
        sum[j] = c[TERMS - 1];
    }
#pragma unroll
    for (int k = TERMS - 2; k >= 0; --k) {
        float term = c[k];
#pragma unroll
        for (int j = 0; j < CHAINS; ++j) sum[j] = fmaf(sum[j], value[j], term);
    }
#pragma unroll
    for (int j = 0; j < CHAINS; ++j)
        if (first + j * THREADS < n) y[first + j * THREADS] = sum[j];
}

// Estrin's scheme: neighbours are joined pairwise with x, x**2, x**4, x**8, x**16: five dependent steps and no more work,
// but for the four squares.
__global__ void __launch_bounds__(THREADS) paired(const float* __restrict__ x, const float* __restrict__ c, float* __restrict__ y,
                                                  int n) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    float power = x[i], part[TERMS];
#pragma unroll
    for (int k = 0; k < TERMS; ++k) part[k] = c[k];
#pragma unroll
    for (int width = TERMS / 2; width > 0; width /= 2) {
#pragma unroll
        for (int k = 0; k < width; ++k) part[k] = fmaf(part[2 * k + 1], power, part[2 * k]);
        power *= power;
    }
    y[i] = part[0];
}

using Kernel = void (*)(const float*, const float*, float*, int);

int launch(Kernel kernel, const float* x, const float* c, float* y, long long n, int each, void* stream) {
    unsigned blocks = static_cast<unsigned>((n + THREADS * each - 1) / (THREADS * each));
    kernel<<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, c, y, static_cast<int>(n));
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_rolled(const float* x, const float* c, float* y, long long n, void* stream) {
    return launch(rolled, x, c, y, n, 1, stream);
}

extern "C" int launch_unrolled(const float* x, const float* c, float* y, long long n, void* stream) {
    return launch(unrolled<1>, x, c, y, n, 1, stream);
}

extern "C" int launch_four_chains(const float* x, const float* c, float* y, long long n, void* stream) {
    return launch(unrolled<4>, x, c, y, n, 4, stream);
}

extern "C" int launch_paired(const float* x, const float* c, float* y, long long n, void* stream) {
    return launch(paired, x, c, y, n, 1, stream);
}
