// c = a b in true float32, a [m, k], b [k, n]: how many multiply-adds a fetched number is used for.
//
// naive: a thread an output, 2 loads a multiply-add, left to the caches. tiled: a 32 x 32 tile in shared memory, 2 shared loads
// each. registers: 8 x 8 outputs a thread, so 16 shared loads serve 64. With more stages, later tiles come by cp.async meanwhile.

#include <cuda_pipeline.h>
#include <cuda_runtime.h>

namespace {

struct Shape {
    int m, n, k;
};

constexpr int TILE = 32, LINES = 8;

__global__ void __launch_bounds__(TILE* LINES) naive(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                                                     Shape s) {
    int row = blockIdx.y * LINES + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    if (row >= s.m || column >= s.n) return;
    float sum = 0.0f;
    for (int i = 0; i < s.k; ++i) sum = fmaf(a[static_cast<size_t>(row) * s.k + i], b[static_cast<size_t>(i) * s.n + column], sum);
    c[static_cast<size_t>(row) * s.n + column] = sum;
}

__global__ void __launch_bounds__(TILE* TILE) tiled(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                                                    Shape s) {
    __shared__ float left[TILE][TILE];
    __shared__ float right[TILE][TILE];
    int row = blockIdx.y * TILE + threadIdx.y, column = blockIdx.x * TILE + threadIdx.x;
    float sum = 0.0f;
    for (int i = 0; i < s.k; i += TILE) {
        int across = i + threadIdx.x, down = i + threadIdx.y;
        left[threadIdx.y][threadIdx.x] = row < s.m && across < s.k ? a[static_cast<size_t>(row) * s.k + across] : 0.0f;
        right[threadIdx.y][threadIdx.x] = down < s.k && column < s.n ? b[static_cast<size_t>(down) * s.n + column] : 0.0f;
        __syncthreads();
#pragma unroll
        for (int j = 0; j < TILE; ++j) sum = fmaf(left[threadIdx.y][j], right[j][threadIdx.x], sum);
        __syncthreads();
    }
    if (row < s.m && column < s.n) c[static_cast<size_t>(row) * s.n + column] = sum;
}

constexpr int SIDE = 128, DEPTH = 8, THREADS = 256;

// One number a copy: any shape and any alignment will do; what lies outside is filled with zeros.
__device__ __forceinline__ void fetch(float* to, const float* matrix, int row, int column, int rows, int columns) {
    bool inside = row < rows && column < columns;
    __pipeline_memcpy_async(to, matrix + (inside ? static_cast<size_t>(row) * columns + column : 0), 4, inside ? 0 : 4);
}

// A block makes 128 x 128 outputs. A thread's 8 x 8 are four blocks of 4 x 4, 64 apart, so that loads of 16 bytes from shared
// memory meet all banks. The tile of a is stored by columns, padded by 4 words for the same reason.
template <int STAGES>
__global__ void __launch_bounds__(THREADS) registers(const float* __restrict__ a, const float* __restrict__ b,
                                                     float* __restrict__ c, Shape s) {
    __shared__ alignas(16) float left[STAGES][DEPTH][SIDE + 4];
    __shared__ alignas(16) float right[STAGES][DEPTH][SIDE];
    int top = blockIdx.y * SIDE, first = blockIdx.x * SIDE, down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
    int turns = (s.k + DEPTH - 1) / DEPTH;
    auto load = [&](int turn) {
        int stage = turn % STAGES, start = turn * DEPTH;
        for (int i = threadIdx.x; turn < turns && i < SIDE * DEPTH; i += THREADS) {
            fetch(&left[stage][i % DEPTH][i / DEPTH], a, top + i / DEPTH, start + i % DEPTH, s.m, s.k);
            fetch(&right[stage][i / SIDE][i % SIDE], b, start + i / SIDE, first + i % SIDE, s.k, s.n);
        }
        __pipeline_commit();
    };
    float sum[8][8] = {};
    for (int turn = 0; turn < STAGES - 1; ++turn) load(turn);
    for (int turn = 0; turn < turns; ++turn) {
        load(turn + STAGES - 1);
        __pipeline_wait_prior(STAGES - 1);
        __syncthreads();
        int stage = turn % STAGES;
#pragma unroll
        for (int i = 0; i < DEPTH; ++i) {
            alignas(16) float l[8], r[8];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                *reinterpret_cast<float4*>(l + 4 * half) = *reinterpret_cast<const float4*>(&left[stage][i][down + 64 * half]);
                *reinterpret_cast<float4*>(r + 4 * half) = *reinterpret_cast<const float4*>(&right[stage][i][across + 64 * half]);
            }
#pragma unroll
            for (int y = 0; y < 8; ++y)
#pragma unroll
                for (int x = 0; x < 8; ++x) sum[y][x] = fmaf(l[y], r[x], sum[y][x]);
        }
        __syncthreads();
    }
#pragma unroll
    for (int y = 0; y < 8; ++y)
#pragma unroll
        for (int x = 0; x < 8; ++x) {
            int row = top + down + y % 4 + y / 4 * 64, column = first + across + x % 4 + x / 4 * 64;
            if (row < s.m && column < s.n) c[static_cast<size_t>(row) * s.n + column] = sum[y][x];
        }
}

using Kernel = void (*)(const float*, const float*, float*, Shape);

int launch(Kernel kernel, dim3 block, int high, int wide, const float* a, const float* b, float* c, long long m, long long n,
           long long k, void* stream) {
    Shape s{static_cast<int>(m), static_cast<int>(n), static_cast<int>(k)};
    dim3 grid((s.n + wide - 1) / wide, (s.m + high - 1) / high);
    kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(a, b, c, s);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_naive(const float* a, const float* b, float* c, long long m, long long n, long long k, void* stream) {
    return launch(naive, dim3(TILE, LINES), LINES, TILE, a, b, c, m, n, k, stream);
}

extern "C" int launch_tiled(const float* a, const float* b, float* c, long long m, long long n, long long k, void* stream) {
    return launch(tiled, dim3(TILE, TILE), TILE, TILE, a, b, c, m, n, k, stream);
}

extern "C" int launch_registers(const float* a, const float* b, float* c, long long m, long long n, long long k, void* stream) {
    return launch(registers<1>, dim3(THREADS), SIDE, SIDE, a, b, c, m, n, k, stream);
}

extern "C" int launch_pipelined(const float* a, const float* b, float* c, long long m, long long n, long long k, void* stream) {
    return launch(registers<3>, dim3(THREADS), SIDE, SIDE, a, b, c, m, n, k, stream);
}
