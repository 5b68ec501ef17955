// What is rounding in x - out, where out = N / q is a quotient (splat.h). The gradients of flow and metric are, at a target,
//
//   dot = sum over channels of g (x - dq/dD out),   times e / q
//
// Where one pixel has a target for itself, and where all that land there have one value, out is x: dot is 0. What is left of it
// is rounding, about 1e-7 |g out|, and over a weight of 1e-12 that is 1e5. So a dot below kNoise |g out| counts as 0: the
// gradient is that of the definition, or 0.
//
// kNoise is, for half types, the distance from 1 to the next number, for out itself was rounded to it; for the others 16 such
// distances: N and D are sums of many terms.
#pragma once

#include "common/host_device.h"

namespace vfi {

template <class T>
constexpr double kNoise = 0;
template <>
constexpr double kNoise<double> = 0x1p-48;
template <>
constexpr double kNoise<float> = 0x1p-19;
template <>
constexpr double kNoise<Half> = 0x1p-10;
template <>
constexpr double kNoise<BFloat16> = 0x1p-7;

}  // namespace vfi
