// Where a flow vector points, split into a pixel and a fraction, and the four pixels around that point:
//
//   x0 = x + floor(fx),  lx = fx - floor(fx)    (splitting fx, not x + fx, keeps all bits of the fraction)
//   rx = floor(fx) + 1 - fx                     (1 - lx to its own last bit: of fx = -1e-6, lx has lost most of it)
//   value = sum over i, j in {0, 1} of wx_i wy_j I[y0 + j, x0 + i],   wx_0 = rx,  wx_1 = lx,  the same for y
//
// A corner is used only if it is inside the image and neither factor of its weight is exactly 0: it is never read and
// multiplied by 0, because 0 * inf is NaN. (What is added to a target also needs a product that is not 0.) Derivatives
// are right-sided: d wx_0 = -1, d wx_1 = +1 also where lx = 0, and the other way round where the image lies mirrored.
// The same names in Python: vfi_kernels/ops/_shared/reference_math/bilinear.py.
#pragma once

#include <cmath>

#include "base/host_device.h"
#include "base/options.h"

namespace vfi {

namespace VFI_LEVEL {

// Further than any image is wide: the position of NaN (left and above) and of +-infinity.
constexpr float kFar = 1073741824.0f;  // 2^30

// One axis of a position: pixel `at` has weight r = 1 - l, pixel `at` + 1 has weight l.
template <class T>
struct Axis {
  int32_t at;
  T l, r;   // l in [0, 1), or in (0, 1] where the image lies mirrored
  bool in0;  // pixel `at` is inside the image
  bool in1;  // pixel `at` + 1 is inside the image
  T slope;  // d position / d flow: 1; -1 where the image lies mirrored, 0 where the coordinate is clipped
};

// The position x + f, not yet compared with the image. NaN goes to -kFar.
template <class T>
VFI_HOST_DEVICE Axis<T> split_axis(T f, int32_t x) {
  T whole = std::floor(f);
  T l = f - whole, r = whole + T(1) - f;
  if (l >= T(1)) {  // f = -1e-10: the fraction rounds up to 1
    whole += T(1);
    l = T(0), r = T(1);
  }
  whole = whole > T(-kFar) ? whole : T(-kFar);
  whole = whole < T(kFar) ? whole : T(kFar);
  return {x + static_cast<int32_t>(whole), l, r, false, false, T(1)};
}

// Pixels outside the image do not exist. The splat's rule, and the warp's with padding "zeros".
template <class T>
VFI_HOST_DEVICE Axis<T> zeros_axis(T f, int32_t x, int32_t size) {
  Axis<T> a = split_axis(f, x);
  a.in0 = a.at >= 0 && a.at < size;
  a.in1 = a.at >= -1 && a.at < size - 1;
  if (!a.in0 && !a.in1) a.l = T(0), a.r = T(1);  // NaN and infinity end here
  return a;
}

// The coordinate is clipped to [0, size - 1]; it moves only strictly inside.
template <class T>
VFI_HOST_DEVICE Axis<T> border_axis(T f, int32_t x, int32_t size) {
  Axis<T> a = split_axis(f, x);
  a.slope = T(a.at >= 0 && a.at < size - 1 && (a.at > 0 || a.l > T(0)));
  if (a.at < 0 || a.at >= size - 1) {
    a.at = a.at < 0 ? 0 : size - 1;
    a.l = T(0), a.r = T(1);
  }
  a.in0 = true;
  a.in1 = a.at < size - 1;
  return a;
}

// The image goes on mirrored at the centres of its outer pixels: the coordinate runs from 0 to size - 1 and back, again and
// again. On an outer pixel itself both directions are alike, and the slope is 0. What is not finite, or further than kFar,
// acts as coordinate 0. For size > 1.
template <class T>
VFI_HOST_DEVICE Axis<T> reflection_axis(T f, int32_t x, int32_t size) {
  const int32_t last = size - 1, period = 2 * last;
  if (!(T(-kFar) < f && f < T(kFar))) return {0, T(0), T(1), true, true, T(0)};
  Axis<T> a = split_axis(f, x);
  a.at %= period;
  if (a.at < 0) a.at += period;
  if (a.l == T(0)) a.r = T(1);  // where floats are further apart than 1, floor(f) + 1 - f is 0
  a.slope = T(a.l != T(0) || a.at % last != 0);
  if (a.at >= last) {  // position at + l is 2 last - at - l
    const T l = a.l;
    a.at = period - 1 - a.at, a.l = a.r, a.r = l, a.slope = -a.slope;
  }
  a.in0 = a.in1 = true;
  return a;
}

template <class T>
VFI_HOST_DEVICE Axis<T> padded_axis(Padding padding, T f, int32_t x, int32_t size) {
  if (padding == Padding::kZeros) return zeros_axis(f, x, size);
  return padding == Padding::kBorder || size == 1 ? border_axis(f, x, size) : reflection_axis(f, x, size);
}

// Calls use(j, i, weight) for each corner (y0 + j, x0 + i) that is used, in row-major order.
template <class T, class Use>
VFI_HOST_DEVICE void for_each_corner(const Axis<T>& x, const Axis<T>& y, Use&& use) {
  for (int j = 0; j < 2; ++j) {
    for (int i = 0; i < 2; ++i) {
      const T wx = i ? x.l : x.r, wy = j ? y.l : y.r;
      if ((i ? x.in1 : x.in0) && (j ? y.in1 : y.in0) && wx != T(0) && wy != T(0)) use(j, i, wx * wy);
    }
  }
}

// The same with the derivative of the weight along x: use(j, i, d weight / d fx). Swap the axes (and j, i) for fy.
template <class T, class Use>
VFI_HOST_DEVICE void for_each_corner_dx(const Axis<T>& x, const Axis<T>& y, Use&& use) {
  if (x.slope == T(0)) return;
  for (int j = 0; j < 2; ++j) {
    for (int i = 0; i < 2; ++i) {
      const T across = j ? y.l : y.r;
      if ((i ? x.in1 : x.in0) && (j ? y.in1 : y.in0) && across != T(0)) use(j, i, i ? x.slope * across : -x.slope * across);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
