// Copies of 16 bytes from global to shared memory that arrive later: a thread goes on meanwhile and waits for what it
// needs. Elsewhere (the tests' emulation, older devices) they arrive at once.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

// Both addresses are multiples of 16; where `exists` is false zeros are written and `from` is not read.
#if defined(VFI_CUDA_EMULATION) || (defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800)
__device__ __forceinline__ void copy_later(void* to, const void* from, bool exists) {
  using Bytes = Pack<uint32_t, 4>;
  *static_cast<Bytes*>(to) = exists ? *static_cast<const Bytes*>(from) : Bytes{};
}
__device__ __forceinline__ void close_copies() {}
template <int kOpen>
__device__ __forceinline__ void wait_for_copies() {}
#else
__device__ __forceinline__ void copy_later(void* to, const void* from, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(__cvta_generic_to_global(from)),
                 "r"(exists ? 16 : 0)
               : "memory");
}
// The copies since the last call are a group.
__device__ __forceinline__ void close_copies() { asm volatile("cp.async.commit_group;" : : : "memory"); }
// Until at most the last kOpen groups of this thread are on their way.
template <int kOpen>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(kOpen) : "memory");
}
#endif

}  // namespace vfi::cuda
