// Which instruction set's kernels run: the best that the CPU and the operating system support, or VFI_KERNELS_CPU.
#pragma once

#include <cstddef>

#include "base/host_device.h"

// The instruction sets that kernels are compiled for on each kind of processor, the worst first. Each has a header
// csrc/simd/simd_<name>.h; its flags are in build_backend/ninja_build.py, how it is recognised is in cpu_dispatch.cpp.
#if defined(__x86_64__)
#define VFI_CPU_LEVELS(DO, ...) DO(baseline, __VA_ARGS__) DO(avx2, __VA_ARGS__) DO(avx512, __VA_ARGS__)
#elif defined(__aarch64__)
#define VFI_CPU_LEVELS(DO, ...) DO(baseline, __VA_ARGS__) DO(neon, __VA_ARGS__) DO(neon_bf16, __VA_ARGS__)
#else
#define VFI_CPU_LEVELS(DO, ...) DO(baseline, __VA_ARGS__)
#endif

namespace vfi {

// Those of VFI_CPU_LEVELS. Level amx runs the avx512 kernels.
#if defined(__aarch64__)
enum class CpuLevel { kBaseline, kNeon, kNeonBf16 };
#else
enum class CpuLevel { kBaseline, kAvx2, kAvx512, kAmx };
#endif

const char* level_name(CpuLevel level);

// Decided once per process. Throws if VFI_KERNELS_CPU names an unknown level, or one that this machine lacks.
CpuLevel cpu_level();

// Whether the CPU has AMX, but the operating system does not let this process use it.
bool amx_is_refused();

// VFI_DECLARE_CPU_KERNEL(warp_rows, const WarpArgs& args, int64_t begin, int64_t end);
//     declares, in namespace vfi, the function that a *_simd.cpp defines in namespace vfi::VFI_LEVEL.
// VFI_CPU_KERNEL(warp_rows)
//     is the pointer to the version for this machine.
#define VFI_DECLARE_CPU_KERNEL(name, ...) VFI_CPU_LEVELS(VFI_DECLARE_AT_LEVEL, name, __VA_ARGS__) static_assert(true)
#define VFI_DECLARE_AT_LEVEL(level, name, ...) \
  namespace level {                            \
  void name(__VA_ARGS__);                      \
  }
#define VFI_CPU_KERNEL(name) ::vfi::pick_level({VFI_CPU_LEVELS(VFI_KERNEL_AT_LEVEL, name)})
#define VFI_KERNEL_AT_LEVEL(level, name) &::vfi::level::name,

namespace VFI_LEVEL {

template <class Function, size_t kCount>
VFI_INLINE Function* pick_level(Function* const (&versions)[kCount]) {
  const size_t level = static_cast<size_t>(cpu_level());
  return versions[level < kCount ? level : kCount - 1];
}

}  // namespace VFI_LEVEL
}  // namespace vfi
