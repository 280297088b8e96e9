// y = x for n floats: how wide is a load, how many does a thread have in flight, and who does the copying.
//
// All but `bulk` keep a thread's loads 32 lanes apart, so that each instruction of a warp touches neighbouring memory.

#include "hopper.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int IN_FLIGHT = 4;
[[maybe_unused]] constexpr int STAGES = 4;
constexpr int STAGE_FLOATS = 2048;  // 8 KiB a stage, 32 KiB a block
constexpr int BLOCKS_PER_MULTIPROCESSOR = 4;

__global__ void __launch_bounds__(THREADS) scalar(const float* __restrict__ x, float* __restrict__ y, long long n) {
    long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (i < n) y[i] = x[i];
}

// DEPTH loads of 16 bytes a thread, all issued before the first store. The last threads also copy the n % 4 floats left over.
template <int DEPTH>
__global__ void __launch_bounds__(THREADS) wide(const float* __restrict__ x, float* __restrict__ y, long long n) {
    const float4* from = reinterpret_cast<const float4*>(x);
    float4* to = reinterpret_cast<float4*>(y);
    long long quads = n / 4, first = static_cast<long long>(blockIdx.x) * THREADS * DEPTH + threadIdx.x;
    float4 held[DEPTH];
#pragma unroll
    for (int k = 0; k < DEPTH; ++k)
        if (first + k * THREADS < quads) held[k] = from[first + k * THREADS];
#pragma unroll
    for (int k = 0; k < DEPTH; ++k)
        if (first + k * THREADS < quads) to[first + k * THREADS] = held[k];
    long long rest = quads * 4 + threadIdx.x;
    if (blockIdx.x == gridDim.x - 1 && rest < n) y[rest] = x[rest];
}

// One thread a block asks the copy engine for pieces of 8 KiB, in and out again, four of them under way. The load of piece
// i + STAGES - 1 takes the buffer of piece i - 1, whose store was given the time of piece i's wait to read it.
__global__ void __launch_bounds__(32) bulk(const float* __restrict__ x, float* __restrict__ y, long long n) {
#ifdef HAS_BULK_COPY
    __shared__ alignas(128) float buffer[STAGES][STAGE_FLOATS];
    __shared__ alignas(8) uint64_t loaded[STAGES];
    long long even = n / 4 * 4, pieces = (even + STAGE_FLOATS - 1) / STAGE_FLOATS;
    if (blockIdx.x == 0 && even + threadIdx.x < n) y[even + threadIdx.x] = x[even + threadIdx.x];
    if (threadIdx.x != 0) return;
    for (int s = 0; s < STAGES; ++s) barrier_init(&loaded[s], 1);
    fence_barriers();
    long long mine = pieces > blockIdx.x ? (pieces - 1 - blockIdx.x) / gridDim.x + 1 : 0;
    auto start = [&](long long i) { return (blockIdx.x + i * gridDim.x) * STAGE_FLOATS; };
    auto bytes = [&](long long i) {
        return static_cast<uint32_t>(sizeof(float) * (even - start(i) < STAGE_FLOATS ? even - start(i) : STAGE_FLOATS));
    };
    auto load = [&](long long i) {
        int s = static_cast<int>(i % STAGES);
        barrier_expect(&loaded[s], bytes(i));
        bulk_load(buffer[s], x + start(i), bytes(i), &loaded[s]);
    };
    for (long long i = 0; i < STAGES - 1 && i < mine; ++i) load(i);
    for (long long i = 0; i < mine; ++i) {
        int s = static_cast<int>(i % STAGES);
        barrier_wait(&loaded[s], static_cast<uint32_t>(i / STAGES & 1));
        bulk_store(y + start(i), buffer[s], bytes(i));
        bulk_commit();
        bulk_wait_read<1>();
        if (i + STAGES - 1 < mine) load(i + STAGES - 1);
    }
    bulk_wait_read<0>();
#endif
}

unsigned blocks_for(long long items, long long per_block) {
    return static_cast<unsigned>(items > 0 ? (items + per_block - 1) / per_block : 1);
}

template <int DEPTH>
int launch_depth(const float* x, float* y, long long n, void* stream) {
    if (!is_aligned(x, 16) || !is_aligned(y, 16)) return cudaErrorMisalignedAddress;
    wide<DEPTH><<<blocks_for(n / 4, THREADS * DEPTH), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, n);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_scalar(const float* x, float* y, long long n, void* stream) {
    scalar<<<blocks_for(n, THREADS), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, n);
    return static_cast<int>(cudaGetLastError());
}

extern "C" int launch_float4(const float* x, float* y, long long n, void* stream) { return launch_depth<1>(x, y, n, stream); }

extern "C" int launch_in_flight(const float* x, float* y, long long n, void* stream) {
    return launch_depth<IN_FLIGHT>(x, y, n, stream);
}

extern "C" int launch_bulk(const float* x, float* y, long long n, void* stream) {
    if (capability() < 9) return cudaErrorNotSupported;
    if (!is_aligned(x, 16) || !is_aligned(y, 16)) return cudaErrorMisalignedAddress;
    long long pieces = blocks_for(n / 4, STAGE_FLOATS / 4), most = BLOCKS_PER_MULTIPROCESSOR * multiprocessors();
    bulk<<<static_cast<unsigned>(pieces < most ? pieces : most), 32, 0, static_cast<cudaStream_t>(stream)>>>(x, y, n);
    return static_cast<int>(cudaGetLastError());
}
