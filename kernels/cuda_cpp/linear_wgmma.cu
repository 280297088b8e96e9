// y = x w^T in bfloat16 by Hopper's own means: one warp asks the copy engine for tiles, two warpgroups multiply them.
//
// A block makes 128 x 256 outputs, 64 x 256 a warpgroup, in steps of 64 along k. Four stages of 48 KiB lie between producer and
// consumers; each stage has a barrier that says `full` (the copy engine's bytes are there) and one that says `empty`.

#include <cuda_bf16.h>

#include "hopper.cuh"
#include "wgmma.cuh"

namespace {

constexpr int HIGH = 128, WIDE = 256, DEEP = 64, STAGES = 4;
constexpr int STAGE_BYTES = (HIGH + WIDE) * DEEP * 2;
constexpr int SHARED_BYTES = STAGES * STAGE_BYTES + 1024;  // the first stage starts at a multiple of 1024 bytes
constexpr int CONSUMERS = 2, THREADS = 128 * (1 + CONSUMERS);
[[maybe_unused]] constexpr int GROUP = 16;  // tiles of x that are visited with one tile of w, while both are in L2

#ifdef HAS_WGMMA

// Two neighbouring outputs of a row; n is even.
__device__ __forceinline__ void store(__nv_bfloat16* y, int row, int column, int m, int n, float left, float right) {
    if (row >= m || column >= n) return;
    __nv_bfloat162 both = __floats2bfloat162_rn(left, right);
    *reinterpret_cast<__nv_bfloat162*>(y + static_cast<size_t>(row) * n + column) = both;
}

#endif

__global__ void __launch_bounds__(THREADS, 1) linear(const __grid_constant__ CUtensorMap x, const __grid_constant__ CUtensorMap w,
                                                     __nv_bfloat16* __restrict__ y, int m, int n, int k) {
#ifdef HAS_WGMMA
    extern __shared__ unsigned char memory[];
    __shared__ alignas(8) uint64_t full[STAGES];
    __shared__ alignas(8) uint64_t empty[STAGES];
    unsigned char* stages = memory + (1024 - shared_address(memory) % 1024) % 1024;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; ++s) {
            barrier_init(&full[s], 1);
            barrier_init(&empty[s], 4 * CONSUMERS);  // one arrival a warp
        }
        fence_barriers();
    }
    __syncthreads();
    int down = (m + HIGH - 1) / HIGH, across = (n + WIDE - 1) / WIDE, turns = (k + DEEP - 1) / DEEP;
    int band = blockIdx.x / (GROUP * across), inside = blockIdx.x % (GROUP * across);
    int tall = min(GROUP, down - band * GROUP);
    int top = (band * GROUP + inside % tall) * HIGH, left = inside / tall * WIDE;
    int group = threadIdx.x / 128;
    if (group == 0) {
        for (int turn = 0; threadIdx.x == 0 && turn < turns; ++turn) {
            int s = turn % STAGES;
            unsigned char* stage = stages + s * STAGE_BYTES;
            if (turn >= STAGES) barrier_wait(&empty[s], (turn / STAGES - 1) & 1);
            barrier_expect(&full[s], STAGE_BYTES);
            tile_load(stage, &x, top, turn * DEEP, &full[s]);
            tile_load(stage + HIGH * DEEP * 2, &w, left, turn * DEEP, &full[s]);
        }
        return;
    }
    float sum[2][64] = {};
    for (int turn = 0; turn < turns; ++turn) {
        int s = turn % STAGES;
        const unsigned char* stage = stages + s * STAGE_BYTES;
        const unsigned char* rows = stage + (group - 1) * 64 * DEEP * 2;
        barrier_wait(&full[s], turn / STAGES & 1);
        wgmma_begin();
#pragma unroll
        for (int i = 0; i < DEEP * 2; i += 32) {
            wgmma(sum[0], factor(rows, i), factor(stage + HIGH * DEEP * 2, i));
            wgmma(sum[1], factor(rows, i), factor(stage + (HIGH + 128) * DEEP * 2, i));
        }
        wgmma_commit();
        wgmma_wait<1>();  // the turn before is done
        if (threadIdx.x % 32 == 0 && turn > 0) barrier_arrive(&empty[(turn - 1) % STAGES]);
    }
    wgmma_wait<0>();
    int thread = threadIdx.x % 128, row = top + (group - 1) * 64 + thread / 32 * 16 + thread % 32 / 4;
#pragma unroll
    for (int half = 0; half < 2; ++half)
#pragma unroll
        for (int j = 0; j < 16; ++j) {
            int column = left + half * 128 + j * 8 + thread % 4 * 2;
            const float* four = sum[half] + 4 * j;
            store(y, row, column, m, n, four[0], four[1]);
            store(y, row + 8, column, m, n, four[2], four[3]);
        }
#endif
}

}  // namespace

extern "C" int launch_wgmma(const void* x, const void* w, void* y, long long m, long long n, long long k, void* stream) {
    if (capability() != 9) return cudaErrorNotSupported;
    if (n % 2 != 0 || !is_aligned(y, 4)) return cudaErrorMisalignedAddress;
    CUtensorMap rows, weights;
    cudaError_t error = tensor_map(&rows, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, x, m, k, HIGH, DEEP, CU_TENSOR_MAP_SWIZZLE_128B);
    if (error != cudaSuccess) return error;
    error = tensor_map(&weights, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, w, n, k, WIDE, DEEP, CU_TENSOR_MAP_SWIZZLE_128B);
    if (error != cudaSuccess) return error;
    error = cudaFuncSetAttribute(linear, cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_BYTES);
    if (error != cudaSuccess) return error;
    long long blocks = (m + HIGH - 1) / HIGH * ((n + WIDE - 1) / WIDE);
    linear<<<static_cast<unsigned>(blocks), THREADS, SHARED_BYTES, static_cast<cudaStream_t>(stream)>>>(
        rows, weights, static_cast<__nv_bfloat16*>(y), static_cast<int>(m), static_cast<int>(n), static_cast<int>(k));
    return static_cast<int>(cudaGetLastError());
}
