// What simd.h builds from the primitives, one text for every instruction set: exp, transpose, interleave4.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

// exp(x) = 2^n exp(r),  n = round(x / ln 2),  r = x - n ln 2 in [-0.35, 0.35]. The polynomial is Taylor's to degree 7
// (error below 2^-27 there), so the result is within 2 units in the last place; exp(0) is exactly 1, the smallest
// arguments give subnormal numbers and then 0, the largest infinity, and NaN gives NaN.
VFI_INLINE F32 exp(F32 x) {
  const F32 bounded = max(min(x, Lanes<F32>::broadcast(90.0f)), Lanes<F32>::broadcast(-110.0f));
  const F32 n = round_nearest(bounded * 1.44269504f);
  // ln 2 in two parts: n times the first is exact.
  const F32 r = fma(n, Lanes<F32>::broadcast(-1.42860682e-6f), fma(n, Lanes<F32>::broadcast(-0.693145752f), bounded));
  F32 p = Lanes<F32>::broadcast(1.0f / 5040.0f);
  constexpr float kTaylor[] = {1.0f / 720.0f, 1.0f / 120.0f, 1.0f / 24.0f, 1.0f / 6.0f, 0.5f, 1.0f, 1.0f};
  for (const float c : kTaylor) {
    p = fma(p, r, Lanes<F32>::broadcast(c));
  }
  // 2^n as a product of two normal numbers: n reaches from -159 to 130.
  const I32 i = to_int(n), half = i >> 1;
  const F32 scaled = p * as_float((half + 127) << 23) * as_float((i - half + 127) << 23);
  return select(equal(x, x), scaled, x);
}

// The vector whose lane k is lane pick(k) of a, b laid end to end; pick is known at compile time.
template <class Pick>
VFI_INLINE F32 shuffle(F32 a, F32 b, Pick pick) {
  I32 from;
  for (int k = 0; k < kLanes; ++k) from[k] = pick(k);
#if defined(__clang__)
  F32 result;
  for (int k = 0; k < kLanes; ++k) result[k] = from[k] < kLanes ? a[from[k]] : b[from[k] - kLanes];
  return result;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

// The sum of all lanes, always in the same order.
template <int kStep = kLanes / 2>
VFI_INLINE float lane_sum(F32 v) {
  const F32 sum = v + shuffle(v, v, [](int k) { return k ^ kStep; });
  if constexpr (kStep > 1) return lane_sum<kStep / 2>(sum);
  return sum[0];
}

// One half of the pair (a, b) after exchanging the blocks of kStep lanes off the diagonal.
template <int kStep, bool kSecond>
VFI_INLINE F32 exchange(F32 a, F32 b) {
  return shuffle(a, b, [](int k) {
    const bool upper = (k & kStep) != 0;
    return kSecond ? (upper ? kLanes + k : k + kStep) : (upper ? kLanes + k - kStep : k);
  });
}

template <int kStep>
VFI_INLINE void transpose_step(F32* rows) {
  for (int i = 0; i < kLanes; ++i) {
    if (i & kStep) continue;
    const F32 a = rows[i], b = rows[i + kStep];
    rows[i] = exchange<kStep, false>(a, b);
    rows[i + kStep] = exchange<kStep, true>(a, b);
  }
}

// rows[i][k] <-> rows[k][i] for a square of kLanes by kLanes floats.
VFI_INLINE void transpose(F32* rows) {
  transpose_step<1>(rows);
  transpose_step<2>(rows);
  if constexpr (kLanes > 4) transpose_step<4>(rows);
  if constexpr (kLanes > 8) transpose_step<8>(rows);
}

template <OneLane V>
VFI_INLINE void transpose(V*) {}

// Lane k is the sum of the lanes of rows[k], of each row in the same order.
template <int kStep = 1>
VFI_INLINE F32 sums_of_lanes(const F32* rows) {
  if constexpr (kStep == kLanes) {
    return *rows;
  } else {
    F32 merged[kLanes / kStep / 2];
    for (int i = 0; i < kLanes / kStep / 2; ++i) {
      const F32 a = rows[2 * i], b = rows[2 * i + 1];
      merged[i] = exchange<kStep, false>(a, b) + exchange<kStep, true>(a, b);
    }
    return sums_of_lanes<2 * kStep>(merged);
  }
}
template <OneLane V>
VFI_INLINE V sums_of_lanes(const V* rows) {
  return *rows;
}

// (a, b) -> a0 b0 a1 b1 .., and back.
VFI_INLINE void zip(F32& a, F32& b) {
  const F32 low = shuffle(a, b, [](int k) { return k / 2 + (k & 1) * kLanes; });
  b = shuffle(a, b, [](int k) { return (k + kLanes) / 2 + (k & 1) * kLanes; });
  a = low;
}
VFI_INLINE void unzip(F32& a, F32& b) {
  const F32 even = shuffle(a, b, [](int k) { return 2 * k; });
  b = shuffle(a, b, [](int k) { return 2 * k + 1; });
  a = even;
}
template <OneLane V>
VFI_INLINE void zip(V&, V&) {}
template <OneLane V>
VFI_INLINE void unzip(V&, V&) {}

// Four planes of as many pixels as there are lanes -> these pixels one after the other, four channels each; and back.
template <class F>
VFI_INLINE void interleave4(F* rows) {
  zip(rows[0], rows[2]);
  zip(rows[1], rows[3]);
  zip(rows[0], rows[1]);
  zip(rows[2], rows[3]);
}
template <class F>
VFI_INLINE void deinterleave4(F* rows) {
  unzip(rows[0], rows[1]);
  unzip(rows[2], rows[3]);
  unzip(rows[0], rows[2]);
  unzip(rows[1], rows[3]);
}

}  // namespace VFI_LEVEL
}  // namespace vfi
