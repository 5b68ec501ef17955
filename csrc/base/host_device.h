// Included first by every header with code that is compiled more than once: by nvcc, or once per instruction set.
#pragma once

#include <cstdint>

// A weak symbol compiled with AVX-512 could be the one the linker keeps for everybody, which crashes CPUs without
// AVX-512. So code in headers is always inlined and lives in a namespace of its instruction set: vfi::baseline,
// vfi::avx2, vfi::avx512 in the *_simd.cpp files (the build defines VFI_LEVEL), vfi::host elsewhere. tests/test_build.py
// checks the objects. Plain structs that cross from one to the other (kernel arguments) live in vfi.
#ifndef VFI_LEVEL
#define VFI_LEVEL host
#endif
namespace vfi {
namespace VFI_LEVEL {}
using namespace VFI_LEVEL;
}  // namespace vfi

// VFI_HOST_DEVICE: scalar math shared by CPU and CUDA kernels. VFI_INLINE, VFI_INLINE_LAMBDA: host code that must be inlined.
#if defined(_MSC_VER) && !defined(__clang__)  // nvcc on Windows
#define VFI_INLINE __forceinline
#define VFI_INLINE_LAMBDA
#else
#define VFI_INLINE inline __attribute__((always_inline))
#define VFI_INLINE_LAMBDA __attribute__((always_inline))
#endif
#ifdef __CUDACC__
#define VFI_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define VFI_HOST_DEVICE VFI_INLINE
#endif

namespace vfi {

// A kernel's element types. Half-precision values travel as bits: arithmetic is done in float32.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};
enum class Dtype { kFloat64, kFloat32, kFloat16, kBFloat16 };

}  // namespace vfi
