// The instructions of tensor cores, by name: matrices of 8 lines of 16 bytes from shared memory to where a product wants
// them, and the product itself. VFI_TENSOR_CORES says that there are any: not in the tests' emulation, not on devices
// before compute capability 8.0.
#pragma once

#include <type_traits>

#include "cuda/launch.cuh"

#if !defined(VFI_CUDA_EMULATION) && (!defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800)
#define VFI_TENSOR_CORES
#endif

namespace vfi::cuda {

#ifdef VFI_TENSOR_CORES
// Four matrices; lanes 8 q .. 8 q + 7 say where the lines of matrix q are, kBehind bytes before. Lane l gets 32 bits of
// each: word l % 4 of line l / 4; with kTurned elements 2 (l % 4) and the next, of 16 bits, of column l / 4.
template <bool kTurned, int kBehind = 0>
__device__ __forceinline__ void load_matrices(unsigned (&r)[4], unsigned shared) {
  if constexpr (kTurned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared), "n"(kBehind)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4+%5];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared), "n"(kBehind)
                 : "memory");
  }
}

// Two of them, of which lanes 8 q .. 8 q + 7 with q < 2 say where the lines are.
template <bool kTurned>
__device__ __forceinline__ void load_matrices(unsigned (&r)[2], unsigned shared) {
  if constexpr (kTurned) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared) : "memory");
  }
}

// 16 rows x 8 columns += a b, 32 bytes of k. A lane has columns 2 (l % 4) and the next: of row l / 4 in `upper`, of row
// l / 4 + 8 in `lower`.
template <class F>
__device__ __forceinline__ void multiply_matrices(float* upper, float* lower, const unsigned (&a)[4], unsigned b0,
                                                  unsigned b1) {
#define VFI_MULTIPLY(shape, type)                                                                                   \
  asm volatile("mma.sync.aligned." shape ".row.col.f32." type "." type                                              \
               ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                                         \
               : "+f"(upper[0]), "+f"(upper[1]), "+f"(lower[0]), "+f"(lower[1])                                     \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))
  if constexpr (std::is_same_v<F, Half>) {
    VFI_MULTIPLY("m16n8k16", "f16");
  } else if constexpr (std::is_same_v<F, BFloat16>) {
    VFI_MULTIPLY("m16n8k16", "bf16");
  } else {
    VFI_MULTIPLY("m16n8k8", "tf32");
  }
#undef VFI_MULTIPLY
}
#endif

}  // namespace vfi::cuda
