// Copies from global to shared memory that go on while their thread works. Compute capability 8.0 and later; elsewhere the
// thread copies at once.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

// kBytes (4, 8 or 16) of memory that is aligned to them; zeros where `bytes` is 0, not kBytes.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* shared, const void* from, int bytes) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {  // past the first cache: nobody else reads it there
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(to), "l"(from), "n"(kBytes), "r"(bytes)
                 : "memory");
  }
#else
  using Bytes = Pack<unsigned, kBytes / 4>;
  *static_cast<Bytes*>(shared) = bytes != 0 ? *static_cast<const Bytes*>(from) : Bytes{};
#endif
}

// Ends a group of this thread's copies.
__device__ __forceinline__ void end_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits for this thread's copies, but for its last kGroups groups. What other threads copied needs a barrier as well.
template <int kGroups>
__device__ __forceinline__ void wait_for_copies() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroups) : "memory");
#endif
}

}  // namespace vfi::cuda
