// Hopper's asynchronous copies in a few lines each: barriers in shared memory, bulk copies, tensor maps.
//
// The device functions exist for sm_90 and later alone; a kernel that uses them guards its body with HAS_BULK_COPY, and
// its launcher returns cudaErrorNotSupported elsewhere. Only one thread of a block issues copies; all may wait.

#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define HAS_BULK_COPY
#endif

// Major compute capability of the current device; 0 when it cannot be told.
inline int capability() {
    int device = 0, major = 0;
    if (cudaGetDevice(&device) != cudaSuccess) return 0;
    return cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess ? major : 0;
}

inline int multiprocessors() {
    int device = 0, count = 1;
    if (cudaGetDevice(&device) == cudaSuccess) cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
    return count;
}

inline bool is_aligned(const void* address, uintptr_t bytes) { return reinterpret_cast<uintptr_t>(address) % bytes == 0; }

// A map of a row-major matrix for copies of box_rows x box_columns elements; what lies outside the matrix reads as zero.
// Rows must start at multiples of 16 bytes. The driver's function is looked up, so that nothing links with libcuda.
inline cudaError_t tensor_map(CUtensorMap* map, CUtensorMapDataType type, int element_bytes, const void* matrix,
                              long long rows, long long columns, int box_rows, int box_columns, CUtensorMapSwizzle swizzle) {
    if (!is_aligned(matrix, 16) || columns * element_bytes % 16 != 0) return cudaErrorMisalignedAddress;
    void* found = nullptr;
    cudaDriverEntryPointQueryResult status;
    cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &status);
    if (error != cudaSuccess) return error;
    if (status != cudaDriverEntryPointSuccess) return cudaErrorNotSupported;
    cuuint64_t extent[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
    cuuint64_t row_bytes[1] = {static_cast<cuuint64_t>(columns * element_bytes)};
    cuuint32_t box[2] = {static_cast<cuuint32_t>(box_columns), static_cast<cuuint32_t>(box_rows)};
    cuuint32_t step[2] = {1, 1};
    auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(found);
    CUresult result = encode(map, type, 2, const_cast<void*>(matrix), extent, row_bytes, box, step,
                             CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
                             CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
    return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

#ifdef HAS_BULK_COPY

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// One thread initialises; everyone may use the barrier after fence_barriers() and __syncthreads().
__device__ __forceinline__ void barrier_init(uint64_t* barrier, uint32_t arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
}

__device__ __forceinline__ void fence_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void barrier_arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

// Arrives, and makes the phase last until `bytes` have been copied as well.
__device__ __forceinline__ void barrier_expect(uint64_t* barrier, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes) : "memory");
}

// Waits until the phase of this parity (0 for the first, 1 for the second, 0 for the third ...) is complete.
__device__ __forceinline__ void barrier_wait(uint64_t* barrier, uint32_t parity) {
    uint32_t done = 0;
    while (done == 0) {
        asm volatile(
            "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
            : "=r"(done)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
    }
}

// Global to shared memory; both addresses and the size are multiples of 16 bytes.
__device__ __forceinline__ void bulk_load(void* to, const void* from, uint32_t bytes, uint64_t* barrier) {
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier))
                 : "memory");
}

// Shared to global memory; bulk_commit() closes a group of stores, and the two waits are for the thread's own groups.
__device__ __forceinline__ void bulk_store(void* to, const void* from, uint32_t bytes) {
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(shared_address(from)), "r"(bytes)
                 : "memory");
}

__device__ __forceinline__ void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Until all but the last LEFT groups have read their shared memory, which may then be written again.
template <int LEFT>
__device__ __forceinline__ void bulk_wait_read() {
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(LEFT) : "memory");
}

// A box whose first element is (row, column) of the mapped matrix; both may be negative or beyond it. That element must lie at
// a multiple of 16 bytes from the matrix's start, or the device stops with "illegal instruction".
__device__ __forceinline__ void tile_load(void* to, const CUtensorMap* map, int row, int column, uint64_t* barrier) {
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(
            shared_address(to)),
        "l"(reinterpret_cast<uint64_t>(map)), "r"(column), "r"(row), "r"(shared_address(barrier))
        : "memory");
}

// Orders this thread's ordinary accesses to shared memory before asynchronous copies that follow a barrier.
__device__ __forceinline__ void fence_for_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

#endif
