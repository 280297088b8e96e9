// y[i, :] = table[:, keys[i] % entries] for a table of 8 fields a row of memory each, or of 8 fields side by side.
//
// Memory is fetched in sectors of 32 bytes. With a field a row, one lookup needs 8 sectors for its 32 bytes; with records
// of 8 floats, aligned, it needs one.

#include <cuda_runtime.h>

namespace {

constexpr int THREADS = 256;
constexpr int FIELDS = 8;

// A thread a lookup. `place` says which lookup it is when the keys were put in another order.
__global__ void __launch_bounds__(THREADS) fields(const float* __restrict__ table, const int* __restrict__ keys,
                                                  const long long* __restrict__ place, float4* __restrict__ y, int entries,
                                                  int count) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    const float* from = table + keys[i] % entries;
    float f[FIELDS];
#pragma unroll
    for (int k = 0; k < FIELDS; ++k) f[k] = from[static_cast<size_t>(k) * entries];
    size_t at = 2 * static_cast<size_t>(place == nullptr ? i : place[i]);
    y[at] = make_float4(f[0], f[1], f[2], f[3]);
    y[at + 1] = make_float4(f[4], f[5], f[6], f[7]);
}

// A thread an entry: 8 coalesced reads, 32 bytes written.
__global__ void __launch_bounds__(THREADS) interleave(const float* __restrict__ table, float4* __restrict__ records, int entries) {
    int e = blockIdx.x * THREADS + threadIdx.x;
    if (e >= entries) return;
    float f[FIELDS];
#pragma unroll
    for (int k = 0; k < FIELDS; ++k) f[k] = table[static_cast<size_t>(k) * entries + e];
    records[2 * static_cast<size_t>(e)] = make_float4(f[0], f[1], f[2], f[3]);
    records[2 * static_cast<size_t>(e) + 1] = make_float4(f[4], f[5], f[6], f[7]);
}

// Two threads a lookup, half a record each.
__global__ void __launch_bounds__(THREADS) whole(const float4* __restrict__ records, const int* __restrict__ keys,
                                                 float4* __restrict__ y, int entries, int count) {
    long long half = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
    if (half < 2LL * count) y[half] = records[2LL * (keys[half / 2] % entries) + half % 2];
}

unsigned blocks(long long threads) { return static_cast<unsigned>((threads + THREADS - 1) / THREADS); }

}  // namespace

extern "C" int launch_fields(const float* table, const int* keys, const long long* place, float* y, long long entries,
                             long long count, void* stream) {
    fields<<<blocks(count), THREADS, 0, static_cast<cudaStream_t>(stream)>>>(table, keys, place, reinterpret_cast<float4*>(y),
                                                                           static_cast<int>(entries), static_cast<int>(count));
    return static_cast<int>(cudaGetLastError());
}

extern "C" int launch_records(const float* table, const int* keys, float* scratch, float* y, long long entries, long long count,
                              void* stream) {
    cudaStream_t on = static_cast<cudaStream_t>(stream);
    float4* records = reinterpret_cast<float4*>(scratch);
    interleave<<<blocks(entries), THREADS, 0, on>>>(table, records, static_cast<int>(entries));
    whole<<<blocks(2 * count), THREADS, 0, on>>>(records, keys, reinterpret_cast<float4*>(y), static_cast<int>(entries),
                                               static_cast<int>(count));
    return static_cast<int>(cudaGetLastError());
}
