// The rules of splatting, once for the CPU, for CUDA and for the checks: the options as the kernels know them, what a sum is
// divided by, and what of a gradient is only rounding. The formulas are in ops/splat/splat.h.
//
// What is rounding in x - out, where out = N / q is a quotient: the gradients of flow and metric are sums over the
// targets k of a pixel,
//
//   sum of c dot,   c = dw e / q (flow) or w u / q (metric),   dot = sum over channels of g (x - dq/dD out)
//
// Where one pixel has a target for itself, and where all that land there have one value, out is x: dot is 0. What is left of it
// is rounding, about 1e-7 |g out|, and over a weight of 1e-12 that is 1e5. So it counts as 0, where w e is all of D to the last
// bit (kAdd: D + 1e-7 is never) and where, with the pixel's share of D, p = w e / q,
//
//   |dot| < kNoise min(5 + 1 / p, kMost) sum of |g out|
//
// The quotient's own roundings are at most 6 kNoise; N and D are sums of about 1 / p terms, each of which may add one. A half
// type's out is itself rounded, by 3 kNoise, beside which the rest is nothing; the errors of its channels, which are large
// enough to count, cancel mostly: there the largest |g out| stands for the sum.
//
// Where a pixel is nearly alone, dot is (1 - p) g (x - the others' mean), and its rounding is a part of it: x, N, D, 1 / D and
// out are each rounded, by at most kNoise. The flow's c is about 1 / w: where the pixel's own weight is thin, a little beyond a
// whole pixel, what is left of the rounding is large. A gradient of the flow counts as 0 where it is less than a thousand times
// what the targets with |1 - p| < kNearlyAlone and w < kThin may have put into it,
//
//   |sum of c dot| < kDoubt kNoise sum over those targets of |c| sum of |g out|
//
// (kDoubtSummed, three times, where it goes into a sum over times or inputs, whose rounding is all that counts there; not with
// kAdd, whose 1e-7 moves out away from every lone pixel; nor with a half type, whose out is too coarse for that). Both gradients
// are 0 beside a target with D < kDim, whose terms may have been subnormal.
#pragma once

#include <cmath>
#include <limits>

#include "base/host_device.h"
#include "base/options.h"

namespace vfi {

// What a source pixel's values are multiplied by: 1, m, exp(m - shift), sigmoid(m), 1 - sigmoid(m), m the metric or a mask.
enum class Factor { kOne, kLinear, kSoftmax, kSigmoid, kOneMinusSigmoid };
// How a sum N becomes a result: N; or N / q, q being D, and 0 in holes; D + 1e-7; max(D, 1e-7).
enum class Division { kNone, kZero, kAdd, kClip };

constexpr double kDivisionEps = 1e-7;
// Where |D| is less, kZero gives 0: a subnormal D has lost the digits of its terms.
template <class A>
constexpr A kHole = std::numeric_limits<A>::min();
// Softmax: up to this span of the metrics one shift serves a whole sample. exp(-60) is still a normal float32.
constexpr double kWideSpan = 60;

struct SplatRules {
  Mode mode;
  Factor factor;
  Division division;
};

// Of one rounding, relative to the result.
template <class T>
constexpr double kNoise = 0;
template <>
inline constexpr double kNoise<double> = 0x1p-53;
template <>
inline constexpr double kNoise<float> = 0x1p-24;
template <>
inline constexpr double kNoise<Half> = 0x1p-11 / 3;
template <>
inline constexpr double kNoise<BFloat16> = 0x1p-8 / 3;

template <class T>
constexpr bool kRounded = sizeof(T) == 2;
constexpr int kMost = 64, kMostRounded = 6;
constexpr int kDoubt = 5000, kDoubtSummed = 16;
constexpr double kNearlyAlone = 0x1p-5, kThin = 0x1p-12;
template <class A>
constexpr A kDim = std::numeric_limits<A>::min() / std::numeric_limits<A>::epsilon();

namespace VFI_LEVEL {

VFI_INLINE SplatRules splat_rules(Mode mode, Holes holes) {
  SplatRules r{mode, Factor::kOne, Division::kNone};
  if (mode == Mode::kLinear) r.factor = Factor::kLinear;
  if (mode == Mode::kSoftmax) r.factor = Factor::kSoftmax;
  if (mode != Mode::kSum) {
    r.division = holes == Holes::kZero ? Division::kZero : holes == Holes::kAdd ? Division::kAdd : Division::kClip;
  }
  return r;
}

// A pixel whose metric is not finite is skipped.
VFI_HOST_DEVICE bool skips_by_metric(Factor factor) { return factor == Factor::kLinear || factor == Factor::kSoftmax; }

// q, and 0 in holes.
template <class A>
VFI_HOST_DEVICE A divisor(Division rule, A weight) {
  const A eps = A(kDivisionEps);
  if (rule == Division::kNone) return A(1);
  if (rule == Division::kZero) return std::abs(weight) < kHole<A> ? A(0) : weight;
  if (rule == Division::kAdd) return weight + eps;
  return weight < eps ? eps : weight;
}

// Whether q moves with D: dq/dD is 1 then, else 0.
template <class A>
VFI_HOST_DEVICE bool divisor_moves(Division rule, A weight) {
  return rule != Division::kClip || weight > A(kDivisionEps);
}

// Whether a pixel that adds `part` to D has the target for itself.
template <class A>
VFI_HOST_DEVICE bool has_alone(Division rule, A weight, A part) {
  return part == weight && rule != Division::kAdd && divisor_moves(rule, weight);
}

// Whether D, which is no hole and not of one pixel alone, is so small that all may be rounding.
template <class A>
VFI_HOST_DEVICE bool is_dim(Division rule, A weight) {
  return rule == Division::kZero && !(std::abs(weight) < kHole<A>) && std::abs(weight) < kDim<A>;
}

// What is rounding in a product g out.
template <class T, class A>
VFI_HOST_DEVICE A noise_of(A product) {
  return A(kNoise<T>) * std::abs(product);
}

// The same of all products, from that of two parts of them.
template <class T, class A>
VFI_HOST_DEVICE A joined_noise(A one, A other) {
  return !kRounded<T> ? one + other : one < other ? other : one;
}

// Whether dot is only rounding, of a pixel with the share p of D; noise is that of all its products g out.
template <class A>
VFI_HOST_DEVICE bool is_rounding(A dot, A noise, A p, int most) {
  const A terms = A(5) + A(1) / std::abs(p);
  return std::abs(dot) < noise * (terms < A(most) ? terms : A(most));
}

// Whether dot may be rounding for the most part, of a pixel with the share p of D and the weight w.
template <class A>
VFI_HOST_DEVICE bool is_doubtful(A p, A w) {
  return std::abs(A(1) - std::abs(p)) < A(kNearlyAlone) && w < A(kThin);
}

// Times kNoise |g out|, at most: what is rounding in dot. `rounded`: an input is of a half type.
VFI_INLINE int most_of(bool rounded) { return rounded ? kMostRounded : kMost; }

// Times kNoise |c g out|: what is in doubt.
VFI_INLINE int doubt_of(Division rule, bool rounded, bool summed) {
  return rounded || rule == Division::kAdd ? 0 : summed ? kDoubtSummed : kDoubt;
}

}  // namespace VFI_LEVEL
}  // namespace vfi
