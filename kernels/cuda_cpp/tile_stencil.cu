// Mean over 5 x 5 neighbours, zero outside the image. The three kernels compute alike and differ in where they read from:
// global memory, a tile that the threads copied, or a tile that the copy engine brought.
//
// A block makes 64 x 32 means; a thread makes 8 of one column from 12 sums of five neighbours in a row.

#include "hopper.cuh"

namespace {

constexpr int REACH = 2;
constexpr int WIDE = 64, HIGH = 32, STRIP = 8;
constexpr int THREADS = WIDE * (HIGH / STRIP);
constexpr int PITCH = WIDE + 2 * REACH, LINES = HIGH + 2 * REACH;
// The copy engine begins a row at a multiple of 16 bytes, so its tile has four columns more on either side.
constexpr int MARGIN = 4, BROAD = WIDE + 2 * MARGIN;
[[maybe_unused]] constexpr int TILE_BYTES = BROAD * LINES * sizeof(float);
constexpr int BLOCKS_PER_MULTIPROCESSOR = 6;

// Eight means of a column. value(i, j): the element in row i and column j of the tile, counted from the halo's corner.
template <typename Value>
__device__ __forceinline__ void means(Value value, float* __restrict__ y, int rows, int columns, int top, int left) {
    int across = threadIdx.x % WIDE, strip = threadIdx.x / WIDE * STRIP;
    float sums[STRIP + 2 * REACH];
#pragma unroll
    for (int i = 0; i < STRIP + 2 * REACH; ++i) {
        sums[i] = 0.0f;
#pragma unroll
        for (int j = 0; j <= 2 * REACH; ++j) sums[i] += value(strip + i, across + j);
    }
#pragma unroll
    for (int i = 0; i < STRIP; ++i) {
        float mean = (sums[i] + sums[i + 1] + sums[i + 2] + sums[i + 3] + sums[i + 4]) * (1.0f / 25.0f);
        int row = top + strip + i, column = left + across;
        if (row < rows && column < columns) y[static_cast<size_t>(row) * columns + column] = mean;
    }
}

__device__ __forceinline__ float at(const float* __restrict__ x, int rows, int columns, int row, int column) {
    bool inside = row >= 0 && row < rows && column >= 0 && column < columns;
    return inside ? x[static_cast<size_t>(row) * columns + column] : 0.0f;
}

__global__ void __launch_bounds__(THREADS) direct(const float* __restrict__ x, float* __restrict__ y, int rows, int columns) {
    int top = blockIdx.y * HIGH, left = blockIdx.x * WIDE;
    auto value = [&](int i, int j) { return at(x, rows, columns, top + i - REACH, left + j - REACH); };
    means(value, y, rows, columns, top, left);
}

__global__ void __launch_bounds__(THREADS) staged(const float* __restrict__ x, float* __restrict__ y, int rows, int columns) {
    __shared__ float tile[LINES][PITCH];
    int top = blockIdx.y * HIGH, left = blockIdx.x * WIDE;
    for (int k = threadIdx.x; k < LINES * PITCH; k += THREADS)
        tile[k / PITCH][k % PITCH] = at(x, rows, columns, top + k / PITCH - REACH, left + k % PITCH - REACH);
    __syncthreads();
    means([&](int i, int j) { return tile[i][j]; }, y, rows, columns, top, left);
}

// A block for each tile, or resident blocks that go on to the next tile: with two buffers the next tile is under way while
// this one is computed. Coordinates outside the image are the copy engine's business: it fills in zeros.
template <int BUFFERS>
__global__ void __launch_bounds__(THREADS) copied(const __grid_constant__ CUtensorMap image, float* __restrict__ y, int rows,
                                                  int columns, int tiles_across, int tiles) {
#ifdef HAS_BULK_COPY
    static_assert(TILE_BYTES % 128 == 0, "the engine writes to multiples of 128 bytes");
    __shared__ alignas(128) float tile[BUFFERS][LINES * BROAD];
    __shared__ alignas(8) uint64_t loaded[BUFFERS];
    bool leads = threadIdx.x == 0;
    if (leads) {
        for (int b = 0; b < BUFFERS; ++b) barrier_init(&loaded[b], 1);
        fence_barriers();
    }
    __syncthreads();
    auto load = [&](int index, int b) {
        barrier_expect(&loaded[b], TILE_BYTES);
        tile_load(tile[b], &image, index / tiles_across * HIGH - REACH, index % tiles_across * WIDE - MARGIN, &loaded[b]);
    };
    int step = gridDim.x;
    if (leads)
        for (int b = 0; b < BUFFERS; ++b)
            if (static_cast<int>(blockIdx.x) + b * step < tiles) load(blockIdx.x + b * step, b);
    int turn = 0;
    for (int index = blockIdx.x; index < tiles; index += step, ++turn) {
        int b = turn % BUFFERS;
        barrier_wait(&loaded[b], turn / BUFFERS & 1);
        auto value = [&](int i, int j) { return tile[b][i * BROAD + j + MARGIN - REACH]; };
        means(value, y, rows, columns, index / tiles_across * HIGH, index % tiles_across * WIDE);
        __syncthreads();  // all have read this buffer
        if (leads && index + BUFFERS * step < tiles) load(index + BUFFERS * step, b);
    }
#endif
}

template <int BUFFERS>
int launch_copied(const float* x, float* y, long long rows, long long columns, long long most_blocks, void* stream) {
    if (capability() < 9) return cudaErrorNotSupported;
    CUtensorMap image;
    cudaError_t error = tensor_map(&image, CU_TENSOR_MAP_DATA_TYPE_FLOAT32, sizeof(float), x, rows, columns, LINES, BROAD,
                                   CU_TENSOR_MAP_SWIZZLE_NONE);
    if (error != cudaSuccess) return error;
    long long across = (columns + WIDE - 1) / WIDE, tiles = across * ((rows + HIGH - 1) / HIGH);
    unsigned blocks = static_cast<unsigned>(tiles < most_blocks ? tiles : most_blocks);
    copied<BUFFERS><<<blocks, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(
        image, y, static_cast<int>(rows), static_cast<int>(columns), static_cast<int>(across), static_cast<int>(tiles));
    return static_cast<int>(cudaGetLastError());
}

using Kernel = void (*)(const float*, float*, int, int);

int launch_plain(Kernel kernel, const float* x, float* y, long long rows, long long columns, void* stream) {
    dim3 grid(static_cast<unsigned>((columns + WIDE - 1) / WIDE), static_cast<unsigned>((rows + HIGH - 1) / HIGH));
    kernel<<<grid, THREADS, 0, static_cast<cudaStream_t>(stream)>>>(x, y, static_cast<int>(rows), static_cast<int>(columns));
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_direct(const float* x, float* y, long long rows, long long columns, void* stream) {
    return launch_plain(direct, x, y, rows, columns, stream);
}

extern "C" int launch_staged(const float* x, float* y, long long rows, long long columns, void* stream) {
    return launch_plain(staged, x, y, rows, columns, stream);
}

extern "C" int launch_engine(const float* x, float* y, long long rows, long long columns, void* stream) {
    return launch_copied<1>(x, y, rows, columns, 1LL << 30, stream);
}

extern "C" int launch_engine_ahead(const float* x, float* y, long long rows, long long columns, void* stream) {
    return launch_copied<2>(x, y, rows, columns, static_cast<long long>(BLOCKS_PER_MULTIPROCESSOR) * multiprocessors(), stream);
}
