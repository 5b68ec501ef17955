// Keys' cubic convolution along uniform knots first, first + step ...:
//
//   u = (tau - first) / step,  i = floor(u) in 0 .. K - 2,  s = u - i,  r = 1 - s
//   value = a s r^2 f[i-1] + ((1 + 2s) r^2 - a s^2 r) f[i] + (s^2 (3 - 2s) - a s r^2) f[i+1] + a s^2 r f[i+2]
//
// In this form (Hermite's) all weights but one are exactly 0 at a knot. At the ends f[-1] and f[K] are linear combinations
// of keyframes: 3 f0 - 3 f1 + f2 (keys), 2 f0 - f1 (linear), f0 (replicate). So any tau has four consecutive keyframes at
// most. K = 1 is constant, K = 2 with keys and linear ends the straight line. A keyframe of weight 0 must not be read.
// Source: Keys, Cubic Convolution Interpolation for Digital Image Processing, 1981, eqs. 4, 19 and 25.
#pragma once

#include <cmath>

#include "base/host_device.h"
#include "base/options.h"

namespace vfi {

struct Curve {
  double first, step, a;
  Boundary boundary;
  bool extrapolate;
  int32_t count;  // K
};

// Keyframe first + m has weight w[m]; those from K on have weight 0.
template <class A>
struct Taps {
  int32_t first;
  A w[4];
};

namespace VFI_LEVEL {

// Whether a tau of this weight adds to its keyframe's gradient: one that is not finite (of a tau that is not) does not.
template <class A>
VFI_HOST_DEVICE bool has_gradient(A weight) {
  return weight != A(0) && weight - weight == A(0);
}

// Weights of f[i-1] ... f[i+2], or their first or second derivative along s.
template <class A>
VFI_HOST_DEVICE void hermite_weights(A a, A s, int order, A (&w)[4]) {
  const A r = A(1) - s;
  A here, there;
  if (order == 0) {
    w[0] = a * s * r * r, w[3] = a * s * s * r;
    here = (A(1) + A(2) * s) * r * r, there = s * s * (A(3) - A(2) * s);
  } else if (order == 1) {
    w[0] = a * r * (A(1) - A(3) * s), w[3] = a * s * (A(2) - A(3) * s);
    here = A(-6) * s * r, there = A(6) * s * r;
  } else {
    w[0] = a * (A(6) * s - A(4)), w[3] = a * (A(2) - A(6) * s);
    here = A(12) * s - A(6), there = A(6) - A(12) * s;
  }
  w[1] = here - w[3], w[2] = there - w[0];
}

// end = the weight of the keyframe beyond the end; near, next and far are those from the end on.
template <class A>
VFI_HOST_DEVICE void fold_end(Boundary boundary, A end, A& near, A& next, A& far) {
  if (boundary == Boundary::kKeys) {
    near += A(3) * end, next -= A(3) * end, far += end;
  } else if (boundary == Boundary::kLinear) {
    near += A(2) * end, next -= end;
  } else {
    near += end;
  }
}

// K = 2: the straight line, or Keys' kernel between f0 f0 f1 f1.
template <class A>
VFI_HOST_DEVICE void two_weights(const Curve& c, A s, int order, A (&w)[4]) {
  if (c.boundary == Boundary::kReplicate) {
    A full[4];
    hermite_weights(A(c.a), s, order, full);
    w[0] = full[0] + full[1], w[1] = full[2] + full[3];
  } else {
    w[0] = order == 0 ? A(1) - s : A(order == 1 ? -1 : 0);
    w[1] = order == 0 ? s : A(order == 1 ? 1 : 0);
  }
  w[2] = w[3] = A(0);
}

// The weights at tau, or their derivative of `order` (0, 1 or 2) per unit of tau.
template <class A>
VFI_HOST_DEVICE Taps<A> taps_at(const Curve& c, A tau, int order) {
  Taps<A> t{0, {order == 0 ? A(1) : A(0), A(0), A(0), A(0)}};
  if (c.count == 1) return t;
  const A end = static_cast<A>(c.count - 1), u = (tau - static_cast<A>(c.first)) / static_cast<A>(c.step);
  const A clamped = u < A(0) ? A(0) : u > end ? end : u;  // NaN stays NaN
  const A at = c.extrapolate ? u : clamped;
  if (order > 0 && !c.extrapolate && !(clamped == u)) return t;  // t is 0
  const int32_t last = c.count - 2;
  const int32_t i = at > A(0) ? (at < static_cast<A>(last) ? static_cast<int32_t>(at) : last) : 0;
  const A s = at - static_cast<A>(i);
  if (c.count == 2) {
    two_weights(c, s, order, t.w);
  } else {
    hermite_weights(static_cast<A>(c.a), s, order, t.w);
    t.first = i - 1;
    if (i == last) {
      fold_end(c.boundary, t.w[3], t.w[2], t.w[1], t.w[0]);
      t.w[3] = A(0);
    }
    if (i == 0) {
      const A before = t.w[0];
      t.first = 0;
      t.w[0] = t.w[1], t.w[1] = t.w[2], t.w[2] = t.w[3], t.w[3] = A(0);
      fold_end(c.boundary, before, t.w[0], t.w[1], t.w[2]);
    }
  }
  const A per_step = static_cast<A>(c.step);
  for (int n = 0; n < order; ++n) {
    for (int m = 0; m < 4; ++m) t.w[m] /= per_step;
  }
  return t;
}

}  // namespace VFI_LEVEL
}  // namespace vfi
