// What is rounding in x - out, where out = N / q is a quotient (splat.h). The gradients of flow and metric are sums over the
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
// kAdd, whose 1e-7 moves out away from every lone pixel). Both gradients are 0 beside a target with D < kDim, whose terms may
// have been subnormal. A half type's out is too coarse for that: there kDoubt is 0.
#pragma once

#include <limits>

#include "base/host_device.h"

namespace vfi {

template <class T>
constexpr double kNoise = 0;
template <>
constexpr double kNoise<double> = 0x1p-53;
template <>
constexpr double kNoise<float> = 0x1p-24;
template <>
constexpr double kNoise<Half> = 0x1p-11 / 3;
template <>
constexpr double kNoise<BFloat16> = 0x1p-8 / 3;

template <class T>
constexpr bool kRounded = sizeof(T) == 2;
constexpr int kMost = 64, kMostRounded = 6;
constexpr int kDoubt = 5000, kDoubtSummed = 16, kDoubtRounded = 0;
constexpr double kNearlyAlone = 0x1p-5, kThin = 0x1p-12;
template <class A>
constexpr A kDim = std::numeric_limits<A>::min() / std::numeric_limits<A>::epsilon();

}  // namespace vfi
