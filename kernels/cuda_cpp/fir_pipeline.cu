// A filter of 64 taps over a long signal, tile by tile through shared memory. All kernels compute a tile alike; they differ in
// who waits for whom: many blocks that hide each other's loads, or resident blocks that load the next tile while computing.
//
// A thread makes 7 neighbouring outputs from registers. 7 is odd, so the 32 threads of a warp, 7 words apart, meet 32 banks.

#include <cuda_pipeline.h>

#include "hopper.cuh"

namespace {

constexpr int TAPS = 64;
constexpr int THREADS = 256, EACH = 7;
constexpr int OUTPUTS = THREADS * EACH;        // of a tile: 7168 bytes, a multiple of 16
constexpr int INPUTS = OUTPUTS + TAPS;         // 63 more are needed; 64 keep the size a multiple of 16 bytes
constexpr int BLOCKS_PER_MULTIPROCESSOR = 4;

struct Signal {
    const float* x;  // `outputs` + TAPS - 1 values
    const float* taps;
    float* y;
    long long outputs;
    long long tiles;
    __device__ long long given() const { return outputs + TAPS - 1; }
};

__device__ __forceinline__ void fetch_taps(const Signal& s, float* taps) {
    if (threadIdx.x < TAPS) taps[threadIdx.x] = s.taps[threadIdx.x];
}

__device__ __forceinline__ void load_plainly(const Signal& s, long long tile, float* to) {
    for (int i = threadIdx.x; i < INPUTS; i += THREADS) {
        long long at = tile * OUTPUTS + i;
        to[i] = at < s.given() ? s.x[at] : 0.0f;
    }
}

// From inputs in shared memory to y, through `results` so that neighbouring threads store neighbours.
__device__ __forceinline__ void filter(const Signal& s, long long tile, const float* inputs, const float* taps, float* results) {
    float sum[EACH] = {};
    const float* from = inputs + threadIdx.x * EACH;
#pragma unroll
    for (int j = 0; j < TAPS + EACH - 1; ++j) {
        float value = from[j];
#pragma unroll
        for (int r = 0; r < EACH; ++r)
            if (j - r >= 0 && j - r < TAPS) sum[r] = fmaf(taps[j - r], value, sum[r]);
    }
#pragma unroll
    for (int r = 0; r < EACH; ++r) results[threadIdx.x * EACH + r] = sum[r];
    __syncthreads();  // results are complete, and nobody reads `inputs` any more
    for (int i = threadIdx.x; i < OUTPUTS; i += THREADS)
        if (tile * OUTPUTS + i < s.outputs) s.y[tile * OUTPUTS + i] = results[i];
}

// As many blocks as tiles, or resident blocks that go on to the next: load, wait, compute.
__global__ void __launch_bounds__(THREADS) in_turn(Signal s) {
    __shared__ alignas(16) float inputs[INPUTS];
    __shared__ float results[OUTPUTS];
    __shared__ float taps[TAPS];
    fetch_taps(s, taps);
    for (long long tile = blockIdx.x; tile < s.tiles; tile += gridDim.x) {
        load_plainly(s, tile, inputs);
        __syncthreads();
        filter(s, tile, inputs, taps, results);
        __syncthreads();
    }
}

// Two buffers, filled by asynchronous copies of 16 bytes a thread (cp.async); what lies beyond the signal becomes zero.
__global__ void __launch_bounds__(THREADS) pipelined(Signal s) {
    __shared__ alignas(16) float inputs[2][INPUTS];
    __shared__ float results[OUTPUTS];
    __shared__ float taps[TAPS];
    fetch_taps(s, taps);
    auto fetch = [&](long long tile, int buffer) {
        for (int i = threadIdx.x * 4; tile < s.tiles && i < INPUTS; i += THREADS * 4) {
            long long at = tile * OUTPUTS + i, left = s.given() - at;
            int beyond = left >= 4 ? 0 : left > 0 ? 4 - static_cast<int>(left) : 4;
            __pipeline_memcpy_async(&inputs[buffer][i], s.x + (beyond < 4 ? at : 0), 16, beyond * sizeof(float));
        }
        __pipeline_commit();
    };
    fetch(blockIdx.x, 0);
    int buffer = 0;
    for (long long tile = blockIdx.x; tile < s.tiles; tile += gridDim.x, buffer ^= 1) {
        fetch(tile + gridDim.x, buffer ^ 1);
        __pipeline_wait_prior(1);
        __syncthreads();
        filter(s, tile, inputs[buffer], taps, results);
        __syncthreads();
    }
}

// The same, filled by the copy engine: one thread asks for a tile in one piece. It copies multiples of 16 bytes, so the last
// tile's last floats are copied by threads.
__global__ void __launch_bounds__(THREADS) engine(Signal s) {
#ifdef HAS_BULK_COPY
    __shared__ alignas(16) float inputs[2][INPUTS];
    __shared__ float results[OUTPUTS];
    __shared__ float taps[TAPS];
    __shared__ alignas(8) uint64_t loaded[2];
    if (threadIdx.x == 0) {
        barrier_init(&loaded[0], 1);
        barrier_init(&loaded[1], 1);
        fence_barriers();
    }
    fetch_taps(s, taps);
    __syncthreads();
    auto there = [&](long long tile) {
        long long left = s.given() - tile * OUTPUTS;
        return static_cast<int>(left < INPUTS ? left : INPUTS);
    };
    auto fetch = [&](long long tile, int buffer) {
        if (threadIdx.x != 0 || tile >= s.tiles) return;
        uint32_t bytes = there(tile) / 4 * 16;
        barrier_expect(&loaded[buffer], bytes);
        bulk_load(inputs[buffer], s.x + tile * OUTPUTS, bytes, &loaded[buffer]);
    };
    fetch(blockIdx.x, 0);
    int turn = 0;
    for (long long tile = blockIdx.x; tile < s.tiles; tile += gridDim.x, ++turn) {
        int buffer = turn % 2, rest = there(tile) / 4 * 4 + threadIdx.x;
        fetch(tile + gridDim.x, buffer ^ 1);
        barrier_wait(&loaded[buffer], turn / 2 & 1);
        if (rest < there(tile)) inputs[buffer][rest] = s.x[tile * OUTPUTS + rest];
        __syncthreads();
        filter(s, tile, inputs[buffer], taps, results);
        __syncthreads();
    }
#endif
}

using Kernel = void (*)(Signal);

int launch(Kernel kernel, const float* x, const float* taps, float* y, long long n, bool resident, void* stream) {
    if (!is_aligned(x, 16)) return cudaErrorMisalignedAddress;
    Signal s{x, taps, y, n, (n + OUTPUTS - 1) / OUTPUTS};
    long long most = resident ? static_cast<long long>(BLOCKS_PER_MULTIPROCESSOR) * multiprocessors() : s.tiles;
    kernel<<<static_cast<unsigned>(s.tiles < most ? s.tiles : most), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(s);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_tiles(const float* x, const float* taps, float* y, long long n, void* stream) {
    return launch(in_turn, x, taps, y, n, false, stream);
}

extern "C" int launch_resident(const float* x, const float* taps, float* y, long long n, void* stream) {
    return launch(in_turn, x, taps, y, n, true, stream);
}

extern "C" int launch_pipelined(const float* x, const float* taps, float* y, long long n, void* stream) {
    return launch(pipelined, x, taps, y, n, true, stream);
}

extern "C" int launch_engine(const float* x, const float* taps, float* y, long long n, void* stream) {
    return capability() < 9 ? static_cast<int>(cudaErrorNotSupported) : launch(engine, x, taps, y, n, true, stream);
}
