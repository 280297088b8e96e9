// y = x w^T in bfloat16 with the tensor-core interface of all GPUs since sm_80 (WMMA, 16 x 16 x 16), with or without a pipeline.
//
// A block of 8 warps makes 128 x 128 outputs, 64 x 32 a warp, in steps of 32 along k. Rows of the tiles in shared memory are 40
// values apart instead of 32, so that the 8 rows that a fragment's load touches at once lie in different banks.

#include <cuda_bf16.h>
#include <cuda_pipeline.h>
#include <mma.h>

namespace {

using namespace nvcuda;

constexpr int SIDE = 128, DEEP = 32, PITCH = DEEP + 8, THREADS = 256;
constexpr int TILE = SIDE * PITCH, STAGE = 2 * TILE;  // values
constexpr int PATCH = 16 * 20;                        // floats; a warp turns one fragment at a time into bfloat16

struct Shape {
    int m, n, k;
};

// 128 rows of 32 values in pieces of 8; k is a multiple of 8, so a piece is inside or outside.
__device__ __forceinline__ void fetch(__nv_bfloat16* to, const __nv_bfloat16* matrix, int top, int start, int rows, int k) {
    for (int piece = threadIdx.x; piece < SIDE * DEEP / 8; piece += THREADS) {
        int row = piece / (DEEP / 8), across = piece % (DEEP / 8) * 8;
        bool inside = top + row < rows && start + across < k;
        const __nv_bfloat16* from = matrix + (inside ? static_cast<size_t>(top + row) * k + start + across : 0);
        __pipeline_memcpy_async(to + row * PITCH + across, from, 16, inside ? 0 : 16);
    }
}

template <int STAGES>
__global__ void __launch_bounds__(THREADS) linear(const __nv_bfloat16* __restrict__ x, const __nv_bfloat16* __restrict__ w,
                                                  __nv_bfloat16* __restrict__ y, Shape s) {
    extern __shared__ __align__(128) unsigned char memory[];
    __nv_bfloat16* tiles = reinterpret_cast<__nv_bfloat16*>(memory);
    int top = blockIdx.y * SIDE, left = blockIdx.x * SIDE, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    int down = warp / 4 * 64, across = warp % 4 * 32, turns = (s.k + DEEP - 1) / DEEP;
    auto load = [&](int turn) {
        __nv_bfloat16* stage = tiles + turn % STAGES * STAGE;
        if (turn < turns) {
            fetch(stage, x, top, turn * DEEP, s.m, s.k);
            fetch(stage + TILE, w, left, turn * DEEP, s.n, s.k);
        }
        __pipeline_commit();
    };
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sum[4][2];
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 2; ++j) wmma::fill_fragment(sum[i][j], 0.0f);
    for (int turn = 0; turn < STAGES - 1; ++turn) load(turn);
    for (int turn = 0; turn < turns; ++turn) {
        load(turn + STAGES - 1);
        __pipeline_wait_prior(STAGES - 1);
        __syncthreads();
        const __nv_bfloat16* stage = tiles + turn % STAGES * STAGE;
#pragma unroll
        for (int d = 0; d < DEEP; d += 16) {
            wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::col_major> b[2];
#pragma unroll
            for (int j = 0; j < 2; ++j) wmma::load_matrix_sync(b[j], stage + TILE + (across + j * 16) * PITCH + d, PITCH);
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> a;
                wmma::load_matrix_sync(a, stage + (down + i * 16) * PITCH + d, PITCH);
#pragma unroll
                for (int j = 0; j < 2; ++j) wmma::mma_sync(sum[i][j], a, b[j], sum[i][j]);
            }
        }
        __syncthreads();
    }
    float* patch = reinterpret_cast<float*>(memory) + warp * PATCH;  // the tiles are no longer needed
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 2; ++j) {
            wmma::store_matrix_sync(patch, sum[i][j], 20, wmma::mem_row_major);
            __syncwarp();
            int row = top + down + i * 16 + lane / 2, column = left + across + j * 16 + lane % 2 * 8;
            for (int e = 0; e < 8 && row < s.m && column + e < s.n; ++e)
                y[static_cast<size_t>(row) * s.n + column + e] = __float2bfloat16(patch[lane / 2 * 20 + lane % 2 * 8 + e]);
            __syncwarp();
        }
}

template <int STAGES>
int launch(const void* x, const void* w, void* y, long long m, long long n, long long k, void* stream) {
    if (k % 8 != 0 || (reinterpret_cast<size_t>(x) | reinterpret_cast<size_t>(w)) % 16 != 0) return cudaErrorMisalignedAddress;
    constexpr int BYTES = STAGES * STAGE * sizeof(__nv_bfloat16);
    static_assert(BYTES >= THREADS / 32 * PATCH * sizeof(float), "the patches lie where the tiles were");
    cudaError_t error = cudaFuncSetAttribute(linear<STAGES>, cudaFuncAttributeMaxDynamicSharedMemorySize, BYTES);
    if (error != cudaSuccess) return error;
    dim3 grid(static_cast<unsigned>((n + SIDE - 1) / SIDE), static_cast<unsigned>((m + SIDE - 1) / SIDE));
    linear<STAGES><<<grid, THREADS, BYTES, static_cast<cudaStream_t>(stream)>>>(
        static_cast<const __nv_bfloat16*>(x), static_cast<const __nv_bfloat16*>(w), static_cast<__nv_bfloat16*>(y),
        Shape{static_cast<int>(m), static_cast<int>(n), static_cast<int>(k)});
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_in_turn(const void* x, const void* w, void* y, long long m, long long n, long long k, void* stream) {
    return launch<1>(x, w, y, m, n, k, stream);
}

extern "C" int launch_pipelined(const void* x, const void* w, void* y, long long m, long long n, long long k, void* stream) {
    return launch<4>(x, w, y, m, n, k, stream);
}
