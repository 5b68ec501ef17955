// simd.h with 4 lanes: NEON, which every 64-bit ARM processor has. Where it is compiled for FEAT_BF16 (simd_neon_bf16.h), that
// rounds to bfloat16.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

constexpr int kLanes = 4;
constexpr int kRegisters = 32;
constexpr bool kHasWindow = false;  // two pairs of a gather are fewer instructions than a table lookup of 32 bytes
typedef float F32 __attribute__((vector_size(16)));
typedef int32_t I32 __attribute__((vector_size(16)));
}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_mask.h"

namespace vfi {
namespace VFI_LEVEL {
VFI_INLINE bool all(Mask m) { return vminvq_u32((uint32x4_t)m.bits) != 0; }
VFI_INLINE bool any(Mask m) { return vmaxvq_u32((uint32x4_t)m.bits) != 0; }

VFI_INLINE F32 as_float(I32 x) { return (F32)x; }
VFI_INLINE I32 as_int(F32 x) { return (I32)x; }

VFI_INLINE F32 unpack(uint16x4_t v, Half) { return (F32)vcvt_f32_f16(vreinterpret_f16_u16(v)); }
VFI_INLINE F32 unpack(uint16x4_t v, BFloat16) { return (F32)vshll_n_u16(v, 16); }
VFI_INLINE uint16x4_t pack(F32 v, Half) { return vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)); }
// To nearest even.
VFI_INLINE uint16x4_t pack(F32 v, BFloat16) {
#if defined(__ARM_FEATURE_BF16_VECTOR_ARITHMETIC)
  return vreinterpret_u16_bf16(vcvt_bf16_f32((float32x4_t)v));
#else
  const I32 bits = (I32)v;
  const I32 rounded = bits + 0x7fff + ((bits >> 16) & 1);
  const I32 kept = v == v ? rounded : (bits | 0x400000);
  return vshrn_n_u32((uint32x4_t)kept, 16);
#endif
}

// Fewer than 4 elements, one after another.
VFI_INLINE F32 load_some(const float* p, int64_t n) {
  float32x4_t v = vdupq_n_f32(0.0f);
  if (n > 0) v = vld1q_lane_f32(p, v, 0);
  if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
  if (n > 2) v = vld1q_lane_f32(p + 2, v, 2);
  return (F32)v;
}
VFI_INLINE uint16x4_t load_some(const uint16_t* p, int64_t n) {
  uint16x4_t v = vdup_n_u16(0);
  if (n > 0) v = vld1_lane_u16(p, v, 0);
  if (n > 1) v = vld1_lane_u16(p + 1, v, 1);
  if (n > 2) v = vld1_lane_u16(p + 2, v, 2);
  return v;
}
VFI_INLINE const uint16_t* halves(const void* p) { return static_cast<const uint16_t*>(p); }
VFI_INLINE uint16_t* halves(void* p) { return static_cast<uint16_t*>(p); }

template <>
struct Lanes<F32> {
  static constexpr int kCount = kLanes;
  using Scalar = float;
  using Int = I32;
  using Mask = VFI_LEVEL::Mask;

  static VFI_INLINE F32 broadcast(float x) { return (F32)vdupq_n_f32(x); }
  static VFI_INLINE F32 lane_numbers() { return F32{0, 1, 2, 3}; }
  static VFI_INLINE F32 from_int(I32 x) { return (F32)vcvtq_f32_s32((int32x4_t)x); }

  static VFI_INLINE F32 load(const float* p) { return (F32)vld1q_f32(p); }
  static VFI_INLINE F32 load(const float* p, int64_t n) { return n >= kLanes ? load(p) : load_some(p, n); }
  template <class T>
  static VFI_INLINE F32 load(const T* p) {
    return unpack(vld1_u16(halves(p)), T{});
  }
  template <class T>
  static VFI_INLINE F32 load(const T* p, int64_t n) {
    return n >= kLanes ? load(p) : unpack(load_some(halves(p), n), T{});
  }

  static VFI_INLINE F32 gather(const float* p, I32 o) { return F32{p[o[0]], p[o[1]], p[o[2]], p[o[3]]}; }
  // a[kLane] b + c
  template <int kLane>
  static VFI_INLINE F32 fma_lane(F32 a, F32 b, F32 c) {
    return (F32)vfmaq_laneq_f32((float32x4_t)c, (float32x4_t)b, (float32x4_t)a, kLane);
  }
  // Two neighbouring floats are one 64-bit element.
  static VFI_INLINE void gather_pairs(const float* p, I32 o, F32& a, F32& b) {
    const float32x4_t low = vcombine_f32(vld1_f32(p + o[0]), vld1_f32(p + o[1]));
    const float32x4_t high = vcombine_f32(vld1_f32(p + o[2]), vld1_f32(p + o[3]));
    a = (F32)vuzp1q_f32(low, high);
    b = (F32)vuzp2q_f32(low, high);
  }
  // Two neighbouring halves are one 32-bit element.
  template <class T>
  static VFI_INLINE void gather_pairs(const T* p, I32 o, F32& a, F32& b) {
    const auto pair = [&](int lane) {
      uint32_t bits;
      std::memcpy(&bits, halves(p) + o[lane], sizeof bits);
      return bits;
    };
    const uint32x4_t pairs = {pair(0), pair(1), pair(2), pair(3)};
    a = unpack(vmovn_u32(pairs), T{});
    b = unpack(vshrn_n_u32(pairs, 16), T{});
  }
};

VFI_INLINE void store(float* p, F32 v) { vst1q_f32(p, (float32x4_t)v); }
VFI_INLINE void store(float* p, F32 v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  if (n > 0) vst1q_lane_f32(p, (float32x4_t)v, 0);
  if (n > 1) vst1q_lane_f32(p + 1, (float32x4_t)v, 1);
  if (n > 2) vst1q_lane_f32(p + 2, (float32x4_t)v, 2);
}
template <class T>
VFI_INLINE void store(T* p, F32 v) {
  vst1_u16(halves(p), pack(v, T{}));
}
template <class T>
VFI_INLINE void store(T* p, F32 v, int64_t n) {
  if (n >= kLanes) return store(p, v);
  const uint16x4_t packed = pack(v, T{});
  if (n > 0) vst1_lane_u16(halves(p), packed, 0);
  if (n > 1) vst1_lane_u16(halves(p) + 1, packed, 1);
  if (n > 2) vst1_lane_u16(halves(p) + 2, packed, 2);
}
template <class T>
VFI_INLINE void stream(T* p, F32 v) {
  store(p, v);
}

VFI_INLINE F32 select(Mask m, F32 a, F32 b) { return (F32)vbslq_f32((uint32x4_t)m.bits, (float32x4_t)a, (float32x4_t)b); }
VFI_INLINE I32 select(Mask m, I32 a, I32 b) { return (I32)vbslq_s32((uint32x4_t)m.bits, (int32x4_t)a, (int32x4_t)b); }
VFI_INLINE F32 fma(F32 a, F32 b, F32 c) { return (F32)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b); }
VFI_INLINE F32 fma_where(Mask m, F32 a, F32 b, F32 c) { return select(m, fma(a, b, c), c); }
VFI_INLINE F32 min(F32 a, F32 b) { return select(less(a, b), a, b); }  // fmin and fminnm treat NaN otherwise
VFI_INLINE F32 max(F32 a, F32 b) { return select(less(b, a), a, b); }
VFI_INLINE I32 min(I32 a, I32 b) { return (I32)vminq_s32((int32x4_t)a, (int32x4_t)b); }
VFI_INLINE I32 max(I32 a, I32 b) { return (I32)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }
VFI_INLINE F32 round_down(F32 x) { return (F32)vrndmq_f32((float32x4_t)x); }
VFI_INLINE F32 round_nearest(F32 x) { return (F32)vrndnq_f32((float32x4_t)x); }
VFI_INLINE I32 to_int(F32 x) { return (I32)vcvtq_s32_f32((float32x4_t)x); }
VFI_INLINE int32_t lowest(I32 x) { return vminvq_s32((int32x4_t)x); }
VFI_INLINE int32_t highest(I32 x) { return vmaxvq_s32((int32x4_t)x); }

}  // namespace VFI_LEVEL
}  // namespace vfi

#include "simd/simd_no_window.h"
