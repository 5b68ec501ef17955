// Which instruction set's kernels run: the best that the CPU and the operating system support, or VFI_KERNELS_CPU.
#pragma once

#include "base/host_device.h"

namespace vfi {

enum class CpuLevel { kBaseline, kAvx2, kAvx512, kAmx };

const char* level_name(CpuLevel level);

// Decided once per process. Throws if VFI_KERNELS_CPU names an unknown level, or one that this machine lacks.
CpuLevel cpu_level();

// Whether the CPU has AMX, but the operating system does not let this process use it.
bool amx_is_refused();

// VFI_DECLARE_CPU_KERNEL(warp_rows, const WarpArgs& args, int64_t begin, int64_t end);
//     declares, in namespace vfi, the function that a *_simd.cpp defines in namespace vfi::VFI_LEVEL.
// VFI_CPU_KERNEL(warp_rows)
//     is the pointer to the version for this machine. Level amx runs the avx512 version.
#if defined(__x86_64__)
#define VFI_DECLARE_CPU_KERNEL(name, ...) \
  namespace baseline {                    \
  void name(__VA_ARGS__);                 \
  }                                       \
  namespace avx2 {                        \
  void name(__VA_ARGS__);                 \
  }                                       \
  namespace avx512 {                      \
  void name(__VA_ARGS__);                 \
  }                                       \
  static_assert(true)
#define VFI_CPU_KERNEL(name) ::vfi::pick_level(&::vfi::baseline::name, &::vfi::avx2::name, &::vfi::avx512::name)
#else
#define VFI_DECLARE_CPU_KERNEL(name, ...) \
  namespace baseline {                    \
  void name(__VA_ARGS__);                 \
  }                                       \
  static_assert(true)
#define VFI_CPU_KERNEL(name) (&::vfi::baseline::name)
#endif

namespace VFI_LEVEL {

template <class Function>
VFI_INLINE Function* pick_level(Function* baseline, Function* avx2, Function* avx512) {
  const CpuLevel level = cpu_level();
  return level >= CpuLevel::kAvx512 ? avx512 : level == CpuLevel::kAvx2 ? avx2 : baseline;
}

}  // namespace VFI_LEVEL
}  // namespace vfi
