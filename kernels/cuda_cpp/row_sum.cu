// Sums of a few long rows, more blocks a row than one: how do their partial sums come together?
//
// All kernels give a row to the same number of blocks, and each of them sums the same elements in the same way.

#include <cooperative_groups.h>

#include "hopper.cuh"

namespace {

namespace cg = cooperative_groups;

constexpr int THREADS = 256, WARPS = THREADS / 32;
constexpr int PARTS = 64, CLUSTER = 8;  // blocks a row, and how many of them form a cluster

// Valid in thread 0. Four elements a load while they last: a row starts at a multiple of 16 bytes when columns % 4 == 0.
__device__ __forceinline__ float part_of_row(const float* __restrict__ x, long long columns, int part) {
    __shared__ float box[WARPS];
    float sum = 0.0f;
    if (columns % 4 == 0) {
        const float4* row = reinterpret_cast<const float4*>(x + blockIdx.y * columns);
#pragma unroll 4
        for (long long i = part * THREADS + threadIdx.x; i < columns / 4; i += PARTS * THREADS) {
            float4 v = row[i];
            sum += (v.x + v.y) + (v.z + v.w);
        }
    } else {
        const float* row = x + blockIdx.y * columns;
#pragma unroll 8
        for (long long i = part * THREADS + threadIdx.x; i < columns; i += PARTS * THREADS) sum += row[i];
    }
    for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
    if (threadIdx.x % 32 == 0) box[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int warp = 0; warp < WARPS; ++warp) sum += box[warp];
    return sum;
}

__global__ void __launch_bounds__(THREADS) to_parts(const float* __restrict__ x, float* __restrict__ parts, long long columns) {
    float sum = part_of_row(x, columns, blockIdx.x);
    if (threadIdx.x == 0) parts[blockIdx.y * PARTS + blockIdx.x] = sum;
}

// A warp a row: 64 parts, two a lane.
__global__ void __launch_bounds__(32) from_parts(const float* __restrict__ parts, float* __restrict__ y) {
    const float* mine = parts + blockIdx.x * PARTS;
    float sum = mine[threadIdx.x] + mine[threadIdx.x + 32];
    for (int apart = 16; apart > 0; apart /= 2) sum += __shfl_xor_sync(~0u, sum, apart);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

// y is zero before.
__global__ void __launch_bounds__(THREADS) to_total(const float* __restrict__ x, float* __restrict__ y, long long columns) {
    float sum = part_of_row(x, columns, blockIdx.x);
    if (threadIdx.x == 0) atomicAdd(y + blockIdx.y, sum);
}

// As to_total, with one atomic addition for the 8 blocks of a cluster; the first reads the others' sums from their memory.
__global__ void __launch_bounds__(THREADS) by_cluster(const float* __restrict__ x, float* __restrict__ y, long long columns) {
#ifdef HAS_BULK_COPY
    __shared__ float of_block;
    cg::cluster_group cluster = cg::this_cluster();
    float sum = part_of_row(x, columns, blockIdx.x);
    if (threadIdx.x == 0) of_block = sum;
    cluster.sync();  // all have written theirs
    if (cluster.block_rank() == 0 && threadIdx.x == 0) {
        for (int other = 1; other < CLUSTER; ++other) sum += *cluster.map_shared_rank(&of_block, other);
        atomicAdd(y + blockIdx.y, sum);
    }
    cluster.sync();  // nobody leaves while another reads from it
#endif
}

}  // namespace

extern "C" int launch_two_launches(const float* x, float* parts, float* y, long long rows, long long columns, void* stream) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    to_parts<<<dim3(PARTS, static_cast<unsigned>(rows)), THREADS, 0, on>>>(x, parts, columns);
    from_parts<<<static_cast<unsigned>(rows), 32, 0, on>>>(parts, y);
    return static_cast<int>(cudaGetLastError());
}

extern "C" int launch_atomic(const float* x, float* y, long long rows, long long columns, void* stream) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    cudaError_t error = cudaMemsetAsync(y, 0, rows * sizeof(float), on);
    if (error != cudaSuccess) return error;
    to_total<<<dim3(PARTS, static_cast<unsigned>(rows)), THREADS, 0, on>>>(x, y, columns);
    return static_cast<int>(cudaGetLastError());
}

extern "C" int launch_by_cluster(const float* x, float* y, long long rows, long long columns, void* stream) {
    if (capability() < 9) return cudaErrorNotSupported;
    cudaError_t error = cudaMemsetAsync(y, 0, rows * sizeof(float), static_cast<cudaStream_t>(stream));
    if (error != cudaSuccess) return error;
    cudaLaunchAttribute size{};
    size.id = cudaLaunchAttributeClusterDimension;
    size.val.clusterDim.x = CLUSTER;
    size.val.clusterDim.y = size.val.clusterDim.z = 1;
    cudaLaunchConfig_t launch{};
    launch.gridDim = dim3(PARTS, static_cast<unsigned>(rows));
    launch.blockDim = dim3(THREADS);
    launch.stream = static_cast<cudaStream_t>(stream);
    launch.attrs = &size;
    launch.numAttrs = 1;
    error = cudaLaunchKernelEx(&launch, by_cluster, x, y, columns);
    return static_cast<int>(error != cudaSuccess ? error : cudaGetLastError());
}
