// Large results are written into memory that the operating system has not mapped yet; mapping it in 4 KB pages takes as
// long as the kernel itself.
#pragma once

#include <cstddef>

#include "base/host_device.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace vfi {
namespace VFI_LEVEL {

// Asks for 2 MB pages. Only advice: it changes no contents and may be refused.
VFI_INLINE void use_huge_pages([[maybe_unused]] void* p, [[maybe_unused]] size_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr size_t kWorthwhile = size_t{4} << 20, kPage = 4096;
  if (bytes < kWorthwhile) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(p) + kPage - 1) & ~(kPage - 1);
  const uintptr_t end = (reinterpret_cast<uintptr_t>(p) + bytes) & ~(kPage - 1);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace VFI_LEVEL
}  // namespace vfi
