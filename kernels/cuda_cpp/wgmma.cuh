// Hopper's warpgroup matrix instruction for bfloat16: 64 x 128 += 64 x 16 times (128 x 16)^T, both from shared memory.
//
// Both factors lie in rows of 64 values (128 bytes), swizzled as a tensor map with SWIZZLE_128B writes them: in row r the
// 16-byte pieces are exchanged by exclusive-or with r % 8. Tiles start at multiples of 1024 bytes. All 128 threads of a
// warpgroup call these together. Exists for sm_90a alone.

#pragma once

#include <cstdint>

#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define HAS_WGMMA

// Of a tile's rows from `rows` on, and their 16 values that begin `bytes` into each row (0, 32, 64 or 96). Groups of 8 rows
// are 1024 bytes apart (in units of 16 at bit 32); bit 62 says 128-byte swizzle.
__device__ __forceinline__ uint64_t factor(const void* rows, int bytes) {
    uint64_t at = (static_cast<uint32_t>(__cvta_generic_to_shared(rows)) + bytes) & 0x3FFFF;
    return at >> 4 | 1ull << 16 | 64ull << 32 | 1ull << 62;
}

__device__ __forceinline__ void wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until all but the last LEFT groups are done, and what they read may be overwritten.
template <int LEFT>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#define EIGHT(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])

// Thread t of the warpgroup holds row 16 * (t / 32) + t % 32 / 4 (+ 8) and columns 8 * j + t % 4 * 2 (+ 1) of the sum:
// d[4 * j + 2 * (row + 8) + (column + 1)].
__device__ __forceinline__ void wgmma(float (&d)[64], uint64_t a, uint64_t b) {
    asm volatile(
        "{ .reg .pred add; setp.ne.b32 add, 1, 0;\n"
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, add, 1, 1, 0, 0; }"
        : EIGHT(d, 0), EIGHT(d, 8), EIGHT(d, 16), EIGHT(d, 24), EIGHT(d, 32), EIGHT(d, 40), EIGHT(d, 48), EIGHT(d, 56)
        : "l"(a), "l"(b)
        : "memory");
}

#undef EIGHT

#endif
