// Softmax of long rows: a block reads its row three times, twice, or a cluster of 8 blocks keeps the row in its shared memory
// and reads it once. The blocks of a cluster exchange their maxima and sums through distributed shared memory.

#include <cooperative_groups.h>

#include "hopper.cuh"

namespace {

namespace cg = cooperative_groups;

constexpr int THREADS = 512, WARPS = THREADS / 32;
constexpr int CLUSTER = 8;  // the most that every device with clusters grants

// The running maximum of some values, and the sum of exp(value - maximum).
struct Partial {
    float peak, sum;
};

__device__ __forceinline__ Partial joined(Partial a, Partial b) {
    float peak = fmaxf(a.peak, b.peak);
    if (peak == -INFINITY) return {peak, 0.0f};
    return {peak, a.sum * expf(a.peak - peak) + b.sum * expf(b.peak - peak)};
}

// Of all threads of the block, in every thread. `box` has a place a warp and may be used again after the next barrier.
__device__ __forceinline__ Partial over_block(Partial mine, Partial* box) {
    for (int apart = 16; apart > 0; apart /= 2) {
        Partial other{__shfl_xor_sync(~0u, mine.peak, apart), __shfl_xor_sync(~0u, mine.sum, apart)};
        mine = joined(mine, other);
    }
    if (threadIdx.x % 32 == 0) box[threadIdx.x / 32] = mine;
    __syncthreads();
    Partial all = box[0];
    for (int warp = 1; warp < WARPS; ++warp) all = joined(all, box[warp]);
    return all;
}

__global__ void __launch_bounds__(THREADS) three_passes(const float* __restrict__ x, float* __restrict__ y, int columns) {
    __shared__ Partial box[2][WARPS];
    const float* row = x + static_cast<size_t>(blockIdx.x) * columns;
    float* out = y + static_cast<size_t>(blockIdx.x) * columns;
    Partial mine{-INFINITY, 0.0f};
#pragma unroll 8
    for (int i = threadIdx.x; i < columns; i += THREADS) mine.peak = fmaxf(mine.peak, row[i]);
    float peak = over_block(mine, box[0]).peak;
    Partial total{peak, 0.0f};
#pragma unroll 8
    for (int i = threadIdx.x; i < columns; i += THREADS) total.sum += expf(row[i] - peak);
    float scale = 1.0f / over_block(total, box[1]).sum;
#pragma unroll 8
    for (int i = threadIdx.x; i < columns; i += THREADS) out[i] = expf(row[i] - peak) * scale;
}

__global__ void __launch_bounds__(THREADS) two_passes(const float* __restrict__ x, float* __restrict__ y, int columns) {
    __shared__ Partial box[WARPS];
    const float* row = x + static_cast<size_t>(blockIdx.x) * columns;
    float* out = y + static_cast<size_t>(blockIdx.x) * columns;
    Partial mine{-INFINITY, 0.0f};
#pragma unroll 8
    for (int i = threadIdx.x; i < columns; i += THREADS) mine = joined(mine, {row[i], 1.0f});
    Partial all = over_block(mine, box);
    float scale = 1.0f / all.sum;
#pragma unroll 8
    for (int i = threadIdx.x; i < columns; i += THREADS) out[i] = expf(row[i] - all.peak) * scale;
}

// Block `rank` of a cluster keeps elements [rank * share, (rank + 1) * share) of the row: as read at first, then as exp.
__global__ void __launch_bounds__(THREADS) in_cluster(const float* __restrict__ x, float* __restrict__ y, int columns, int share) {
#ifdef HAS_BULK_COPY
    extern __shared__ __align__(16) float kept[];
    __shared__ Partial box[2][WARPS];
    __shared__ Partial of_block;
    cg::cluster_group cluster = cg::this_cluster();
    int rank = static_cast<int>(cluster.block_rank()), first = rank * share;
    int length = max(0, min(share, columns - first));
    size_t start = static_cast<size_t>(blockIdx.x / CLUSTER) * columns + first;
    Partial mine{-INFINITY, 0.0f};
#pragma unroll 8
    for (int i = threadIdx.x; i < length; i += THREADS) {
        kept[i] = x[start + i];
        mine.peak = fmaxf(mine.peak, kept[i]);
    }
    float peak = over_block(mine, box[0]).peak;  // of the block; -infinity where it has no elements
    Partial here{peak, 0.0f};
    for (int i = threadIdx.x; i < length; i += THREADS) here.sum += kept[i] = expf(kept[i] - peak);
    here = over_block(here, box[1]);
    if (threadIdx.x == 0) of_block = here;
    cluster.sync();  // all have written theirs
    Partial all = here;
    for (int other = 0; other < CLUSTER; ++other)
        if (other != rank) all = joined(all, *cluster.map_shared_rank(&of_block, other));
    float scale = expf(peak - all.peak) / all.sum;
    for (int i = threadIdx.x; i < length; i += THREADS) y[start + i] = kept[i] * scale;
    cluster.sync();  // nobody leaves while another reads from it
#endif
}

}  // namespace

extern "C" int launch_three_passes(const float* x, float* y, long long rows, long long columns, void* stream) {
    three_passes<<<static_cast<unsigned>(rows), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, static_cast<int>(columns));
    return static_cast<int>(cudaGetLastError());
}

extern "C" int launch_two_passes(const float* x, float* y, long long rows, long long columns, void* stream) {
    two_passes<<<static_cast<unsigned>(rows), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, static_cast<int>(columns));
    return static_cast<int>(cudaGetLastError());
}

extern "C" int launch_in_cluster(const float* x, float* y, long long rows, long long columns, void* stream) {
    if (capability() < 9) return cudaErrorNotSupported;
    int share = static_cast<int>((columns + CLUSTER - 1) / CLUSTER), bytes = share * static_cast<int>(sizeof(float));
    cudaError_t error = cudaFuncSetAttribute(in_cluster, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;  // more than 8 x 226 KiB a row
    cudaLaunchAttribute attribute{};
    attribute.id = cudaLaunchAttributeClusterDimension;
    attribute.val.clusterDim.x = CLUSTER;
    attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(static_cast<unsigned>(rows * CLUSTER));
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = bytes;
    config.stream = static_cast<cudaStream_t>(stream);
    config.attrs = &attribute;
    config.numAttrs = 1;
    error = cudaLaunchKernelEx(&config, in_cluster, x, y, static_cast<int>(columns), share);
    return static_cast<int>(error != cudaSuccess ? error : cudaGetLastError());
}
