// Transpose of an n x n float32 matrix through a 32 x 32 tile in shared memory, three layouts of the tile.
//
// Shared memory has 32 banks of 4 bytes. Reading a column of a tile whose rows are 32 words apart asks one bank for 32
// words, so a warp waits 32 turns. A 33rd word in each row, or exclusive-or of the column with the row, spreads the
// column over all banks. Global memory is read and written in whole 128-byte lines in all three.

#include <cuda_runtime.h>

namespace {

constexpr int TILE = 32;
constexpr int ROWS = 8;  // a block is 32 x 8 threads, each does four elements

enum Layout { UNPADDED, PADDED, SWIZZLED };

template <Layout layout>
__device__ __forceinline__ int column(int row, int col) {
    return layout == SWIZZLED ? (col ^ row) : col;
}

template <Layout layout>
__global__ void __launch_bounds__(TILE* ROWS) transpose(const float* __restrict__ a, float* __restrict__ c, int n) {
    __shared__ float tile[TILE][layout == PADDED ? TILE + 1 : TILE];
    int x = blockIdx.x * TILE + threadIdx.x;
    int y = blockIdx.y * TILE + threadIdx.y;
    for (int i = 0; i < TILE; i += ROWS) {
        int row = threadIdx.y + i;
        if (x < n && y + i < n) tile[row][column<layout>(row, threadIdx.x)] = a[static_cast<size_t>(y + i) * n + x];
    }
    __syncthreads();
    x = blockIdx.y * TILE + threadIdx.x;
    y = blockIdx.x * TILE + threadIdx.y;
    for (int i = 0; i < TILE; i += ROWS) {
        int row = threadIdx.x;
        if (x < n && y + i < n) c[static_cast<size_t>(y + i) * n + x] = tile[row][column<layout>(row, threadIdx.y + i)];
    }
}

template <Layout layout>
int launch(const float* a, float* c, int n, void* stream) {
    int tiles = (n + TILE - 1) / TILE;
    transpose<layout><<<dim3(tiles, tiles), dim3(TILE, ROWS), 0, static_cast<cudaStream_t>(stream)>>>(a, c, n);
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_tiled(const float* a, float* c, int n, void* stream) { return launch<UNPADDED>(a, c, n, stream); }

extern "C" int launch_padded(const float* a, float* c, int n, void* stream) { return launch<PADDED>(a, c, n, stream); }

extern "C" int launch_swizzled(const float* a, float* c, int n, void* stream) { return launch<SWIZZLED>(a, c, n, stream); }
