// c[j, i] = a[i, j] for a [rows, columns]: strided stores, strided loads, or a tile in shared memory between them.

#include <cuda_runtime.h>

namespace {

constexpr int TILE = 32;
constexpr int LINES = 8;  // a block is 32 x 8 threads; each moves four elements

enum Way { STRIDED_WRITES, STRIDED_READS };

template <Way way>
__global__ void __launch_bounds__(TILE* LINES) direct(const float* __restrict__ a, float* __restrict__ c, int rows, int columns) {
    int across = threadIdx.x, down = threadIdx.y;
    for (int k = 0; k < TILE; k += LINES) {
        int row = blockIdx.y * TILE + (way == STRIDED_WRITES ? down + k : across);
        int column = blockIdx.x * TILE + (way == STRIDED_WRITES ? across : down + k);
        if (row < rows && column < columns) c[static_cast<size_t>(column) * rows + row] = a[static_cast<size_t>(row) * columns + column];
    }
}

// The tile's 33rd word in a row keeps a column from lying in one bank (chapter 6).
__global__ void __launch_bounds__(TILE* LINES) tiled(const float* __restrict__ a, float* __restrict__ c, int rows, int columns) {
    __shared__ float tile[TILE][TILE + 1];
    int column = blockIdx.x * TILE + threadIdx.x, top = blockIdx.y * TILE;
    for (int k = threadIdx.y; k < TILE; k += LINES)
        if (top + k < rows && column < columns) tile[k][threadIdx.x] = a[static_cast<size_t>(top + k) * columns + column];
    __syncthreads();
    int row = blockIdx.y * TILE + threadIdx.x, left = blockIdx.x * TILE;
    for (int k = threadIdx.y; k < TILE; k += LINES)
        if (left + k < columns && row < rows) c[static_cast<size_t>(left + k) * rows + row] = tile[threadIdx.x][k];
}

using Kernel = void (*)(const float*, float*, int, int);

int launch(Kernel kernel, const float* a, float* c, long long rows, long long columns, void* stream) {
    dim3 grid(static_cast<unsigned>((columns + TILE - 1) / TILE), static_cast<unsigned>((rows + TILE - 1) / TILE));
    kernel<<<grid, dim3(TILE, LINES), 0, static_cast<cudaStream_t>(stream)>>>(a, c, static_cast<int>(rows), static_cast<int>(columns));
    return static_cast<int>(cudaGetLastError());
}

}  // namespace

extern "C" int launch_strided_writes(const float* a, float* c, long long rows, long long columns, void* stream) {
    return launch(direct<STRIDED_WRITES>, a, c, rows, columns, stream);
}

extern "C" int launch_strided_reads(const float* a, float* c, long long rows, long long columns, void* stream) {
    return launch(direct<STRIDED_READS>, a, c, rows, columns, stream);
}

extern "C" int launch_blocked(const float* a, float* c, long long rows, long long columns, void* stream) {
    return launch(tiled, a, c, rows, columns, stream);
}
