// y[i, j] = x[i, j] * scale[j] + shift[j]: which way do neighbouring threads lie in memory?
//
// Each block works along one line (a feature or a sample) and its threads are neighbours on that line. A feature is a
// column: its elements are `features` floats apart, so a warp's load touches 32 sectors of 32 bytes instead of 4.

#include <cuda_runtime.h>

namespace {

constexpr int THREADS = 256;

template <bool ALONG_FEATURE>
__global__ void __launch_bounds__(THREADS) affine(const float* __restrict__ x, const float* __restrict__ scale,
                                                  const float* __restrict__ shift, float* __restrict__ y, long long samples,
                                                  long long features) {
    long long line = blockIdx.x, along = static_cast<long long>(blockIdx.y) * THREADS + threadIdx.x;
    long long sample = ALONG_FEATURE ? along : line, feature = ALONG_FEATURE ? line : along;
    if (sample >= samples || feature >= features) return;
    long long at = sample * features + feature;
    y[at] = x[at] * scale[feature] + shift[feature];
}

template <bool ALONG_FEATURE>
int launch(const float* x, const float* scale, const float* shift, float* y, long long samples, long long features, void* stream) {
    long long lines = ALONG_FEATURE ? features : samples, length = ALONG_FEATURE ? samples : features;
    dim3 grid(static_cast<unsigned>(lines), static_cast<unsigned>((length + THREADS - 1) / THREADS));
    affine<ALONG_FEATURE>
        <<<grid, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, scale, shift, y, samples, features);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_by_feature(const float* x, const float* scale, const float* shift, float* y, long long samples,
                                 long long features, void* stream) {
    return launch<true>(x, scale, shift, y, samples, features, stream);
}

extern "C" int launch_by_sample(const float* x, const float* scale, const float* shift, float* y, long long samples,
                                long long features, void* stream) {
    return launch<false>(x, scale, shift, y, samples, features, stream);
}
