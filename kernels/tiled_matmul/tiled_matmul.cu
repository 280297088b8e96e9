// c = a b in float32 on the ordinary cores, a [m, k], b [k, n], row by row: three answers to "how often is an element read?"
//
// Two floats are loaded for a multiply-add when every thread works alone. A 32 x 32 tile in shared memory loads each
// element once for 32 threads; an 8 x 8 tile in registers reads 16 floats of shared memory for 64 multiply-adds.

#include <cuda_runtime.h>

namespace {

constexpr int EDGE = 32;

__global__ void __launch_bounds__(EDGE* EDGE)
    one_output(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k) {
    int col = blockIdx.x * EDGE + threadIdx.x, row = blockIdx.y * EDGE + threadIdx.y;
    if (row >= m || col >= n) return;
    float sum = 0;
    for (int i = 0; i < k; ++i) sum += a[static_cast<size_t>(row) * k + i] * b[static_cast<size_t>(i) * n + col];
    c[static_cast<size_t>(row) * n + col] = sum;
}

__global__ void __launch_bounds__(EDGE* EDGE)
    shared_tile(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k) {
    __shared__ float left[EDGE][EDGE], right[EDGE][EDGE];
    int x = threadIdx.x, y = threadIdx.y, col = blockIdx.x * EDGE + x, row = blockIdx.y * EDGE + y;
    float sum = 0;
    for (int start = 0; start < k; start += EDGE) {
        left[y][x] = row < m && start + x < k ? a[static_cast<size_t>(row) * k + start + x] : 0.0f;
        right[y][x] = start + y < k && col < n ? b[static_cast<size_t>(start + y) * n + col] : 0.0f;
        __syncthreads();
        for (int i = 0; i < EDGE; ++i) sum += left[y][i] * right[i][x];
        __syncthreads();
    }
    if (row < m && col < n) c[static_cast<size_t>(row) * n + col] = sum;
}

constexpr int SIDE = 128;   // a block's outputs are SIDE x SIDE
constexpr int DEPTH = 8;    // the sum over k is done DEPTH at a time
constexpr int MICRO = 8;    // a thread's outputs are MICRO x MICRO
constexpr int THREADS = (SIDE / MICRO) * (SIDE / MICRO);

__global__ void __launch_bounds__(THREADS)
    register_tile(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m, int n, int k) {
    // left is kept transposed, its rows 4 floats longer: 16-byte reads stay aligned, and fewer writes of a warp share a bank
    __shared__ __align__(16) float left[DEPTH][SIDE + 4], right[DEPTH][SIDE];
    int t = threadIdx.x, x = t % (SIDE / MICRO), y = t / (SIDE / MICRO);
    int row0 = blockIdx.y * SIDE, col0 = blockIdx.x * SIDE;
    float sum[MICRO][MICRO] = {};
    for (int start = 0; start < k; start += DEPTH) {
        for (int i = t; i < SIDE * DEPTH; i += THREADS) {
            int row = row0 + i / DEPTH, depth = start + i % DEPTH;
            left[i % DEPTH][i / DEPTH] = row < m && depth < k ? a[static_cast<size_t>(row) * k + depth] : 0.0f;
            int col = col0 + i % SIDE;
            depth = start + i / SIDE;
            right[i / SIDE][i % SIDE] = depth < k && col < n ? b[static_cast<size_t>(depth) * n + col] : 0.0f;
        }
        __syncthreads();
#pragma unroll
        for (int depth = 0; depth < DEPTH; ++depth) {
            // Two runs of four, half a tile apart: neighbouring threads read neighbouring 16 bytes, without bank conflicts.
            float l[MICRO], r[MICRO];
            for (int half = 0; half < 2; ++half) {
                *reinterpret_cast<float4*>(l + 4 * half) = *reinterpret_cast<float4*>(&left[depth][half * SIDE / 2 + 4 * y]);
                *reinterpret_cast<float4*>(r + 4 * half) = *reinterpret_cast<float4*>(&right[depth][half * SIDE / 2 + 4 * x]);
            }
#pragma unroll
            for (int i = 0; i < MICRO; ++i)
#pragma unroll
                for (int j = 0; j < MICRO; ++j) sum[i][j] += l[i] * r[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < MICRO; ++i) {
        int row = row0 + i / 4 * SIDE / 2 + 4 * y + i % 4;
#pragma unroll
        for (int j = 0; j < MICRO; ++j) {
            int col = col0 + j / 4 * SIDE / 2 + 4 * x + j % 4;
            if (row < m && col < n) c[static_cast<size_t>(row) * n + col] = sum[i][j];
        }
    }
}

using Kernel = void (*)(const float*, const float*, float*, int, int, int);

int launch(Kernel kernel, int side, dim3 block, const float* a, const float* b, float* c, int m, int n, int k, void* stream) {
    dim3 grid((n + side - 1) / side, (m + side - 1) / side);
    kernel<<<grid, block, 0, static_cast<cudaStream_t>(stream)>>>(a, b, c, m, n, k);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_one_output(const float* a, const float* b, float* c, int m, int n, int k, void* stream) {
    return launch(one_output, EDGE, dim3(EDGE, EDGE), a, b, c, m, n, k, stream);
}

extern "C" int launch_shared_tile(const float* a, const float* b, float* c, int m, int n, int k, void* stream) {
    return launch(shared_tile, EDGE, dim3(EDGE, EDGE), a, b, c, m, n, k, stream);
}

extern "C" int launch_register_tile(const float* a, const float* b, float* c, int m, int n, int k, void* stream) {
    return launch(register_tile, SIDE, dim3(THREADS), a, b, c, m, n, k, stream);
}
