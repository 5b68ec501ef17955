// 2 kLanes consecutive elements in two registers, for simd_avx2.h and simd_avx512.h: after their Lanes.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

template <class F>
struct Window;
template <>
struct Window<F32> {
  F32 low, high;
};
template <class T>
VFI_INLINE Window<F32> load_window(const T* p) {
  return {Lanes<F32>::load(p), Lanes<F32>::load(p + kLanes)};
}

}  // namespace VFI_LEVEL
}  // namespace vfi
