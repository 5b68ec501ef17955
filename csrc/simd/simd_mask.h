// Masks that are vectors of integers, for simd_avx2.h, simd_neon.h and simd_baseline.h: after their F32 and I32.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

struct Mask {
  I32 bits;  // -1 or 0 in each lane
};

VFI_INLINE Mask operator&(Mask a, Mask b) { return {a.bits & b.bits}; }
VFI_INLINE Mask operator|(Mask a, Mask b) { return {a.bits | b.bits}; }
VFI_INLINE Mask operator!(Mask a) { return {~a.bits}; }

VFI_INLINE Mask less(F32 a, F32 b) { return {a < b}; }
VFI_INLINE Mask less_equal(F32 a, F32 b) { return {a <= b}; }
VFI_INLINE Mask equal(F32 a, F32 b) { return {a == b}; }
VFI_INLINE Mask not_equal(F32 a, F32 b) { return {a != b}; }
VFI_INLINE Mask less(I32 a, I32 b) { return {a < b}; }
VFI_INLINE Mask less_equal(I32 a, I32 b) { return {a <= b}; }
VFI_INLINE Mask equal(I32 a, I32 b) { return {a == b}; }
VFI_INLINE Mask not_equal(I32 a, I32 b) { return {a != b}; }

}  // namespace VFI_LEVEL
}  // namespace vfi
