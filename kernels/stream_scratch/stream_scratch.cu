// A 5 x 5 binomial filter of a float32 image as two passes of five taps, with a scratch image in between.
//
// The second pass reads its neighbours' results of the first, so the scratch image cannot be the output. Launchers differ only in
// where its memory comes from: cudaMalloc and cudaFree (which waits for the device), the stream-ordered pool, or the caller.

#include <cuda_runtime.h>

#include <cstdint>

namespace {

constexpr int WIDTH = 128;  // threads of a block, each one element of a row

__device__ __forceinline__ float taps(float a, float b, float c, float d, float e) {
    return 0.0625f * (a + e) + 0.25f * (b + d) + 0.375f * c;
}

// STEP elements apart: 1 along a row, `columns` along a column. `at` counts in the filtered direction, of `length`.
__device__ __forceinline__ float filtered(const float* x, size_t centre, size_t step, int at, int length) {
    float a = at > 1 ? x[centre - 2 * step] : 0.0f;
    float b = at > 0 ? x[centre - step] : 0.0f;
    float d = at + 1 < length ? x[centre + step] : 0.0f;
    float e = at + 2 < length ? x[centre + 2 * step] : 0.0f;
    return taps(a, b, x[centre], d, e);
}

__global__ void __launch_bounds__(WIDTH) along_rows(const float* __restrict__ x, float* __restrict__ y, int columns) {
    int column = blockIdx.x * WIDTH + threadIdx.x;
    size_t centre = static_cast<size_t>(blockIdx.y) * columns + column;
    if (column < columns) y[centre] = filtered(x, centre, 1, column, columns);
}

__global__ void __launch_bounds__(WIDTH) along_columns(const float* __restrict__ x, float* __restrict__ y, int rows, int columns) {
    int column = blockIdx.x * WIDTH + threadIdx.x;
    size_t centre = static_cast<size_t>(blockIdx.y) * columns + column;
    if (column < columns) y[centre] = filtered(x, centre, columns, blockIdx.y, rows);
}

int filter(const float* x, float* scratch, float* y, int rows, int columns, cudaStream_t stream) {
    dim3 blocks((columns + WIDTH - 1) / WIDTH, rows);  // rows up to 65535
    along_rows<<<blocks, WIDTH, 0, stream>>>(x, scratch, columns);
    along_columns<<<blocks, WIDTH, 0, stream>>>(scratch, y, rows, columns);
    return static_cast<int>(cudaGetLastError());
}

size_t bytes(int rows, int columns) { return sizeof(float) * static_cast<size_t>(rows) * columns; }

}  // namespace

extern "C" int launch_allocated(const float* x, float* y, int rows, int columns, void* stream) {
    float* scratch = nullptr;
    cudaError_t made = cudaMalloc(reinterpret_cast<void**>(&scratch), bytes(rows, columns));
    if (made != cudaSuccess) return static_cast<int>(made);
    int code = filter(x, scratch, y, rows, columns, static_cast<cudaStream_t>(stream));
    cudaError_t freed = cudaFree(scratch);
    return code != 0 ? code : static_cast<int>(freed);
}

extern "C" int launch_ordered(const float* x, float* y, int rows, int columns, void* stream) {
    cudaStream_t queue = static_cast<cudaStream_t>(stream);
    float* scratch = nullptr;
    cudaError_t made = cudaMallocAsync(reinterpret_cast<void**>(&scratch), bytes(rows, columns), queue);
    if (made != cudaSuccess) return static_cast<int>(made);
    int code = filter(x, scratch, y, rows, columns, queue);
    cudaError_t freed = cudaFreeAsync(scratch, queue);
    return code != 0 ? code : static_cast<int>(freed);
}

extern "C" int launch_given(const float* x, float* scratch, float* y, int rows, int columns, void* stream) {
    return filter(x, scratch, y, rows, columns, static_cast<cudaStream_t>(stream));
}

// What the device's pool may hold when the host waits for the device; without it everything is given back then.
extern "C" int keep_pool(int device) {
    cudaMemPool_t pool = nullptr;
    cudaError_t found = cudaDeviceGetDefaultMemPool(&pool, device);
    if (found != cudaSuccess) return static_cast<int>(found);
    uint64_t all = UINT64_MAX;
    cudaError_t set = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &all);
    return set != cudaSuccess ? static_cast<int>(set) : static_cast<int>(cudaGetLastError());
}
