// Where a chunk of source pixels lands and with which weights, for the splat's kernels. For *_simd.cpp
// only. F is F32, or double with one lane.
#pragma once

#include "ops/splat/splat_cpu.h"
#include "sampling/simd_mirror.h"
#include "simd/simd_chunk.h"
#include "trajectories/trajectory_simd.h"

namespace vfi {
namespace VFI_LEVEL {

template <class F>
VFI_INLINE typename Lanes<F>::Mask is_finite(F x) {
  return equal(x - x, broadcast<F>(0));
}

// n numbers of one plane as A: the plane itself where it can be read with whole vectors, else `buffer`, padded with 0.
template <class A>
const A* read_chunk(const Planes& planes, int64_t b, int64_t c, int64_t first, int64_t n, A* buffer) {
  using F = typename VectorFor<A>::type;
  constexpr int kCount = Lanes<F>::kCount;
  const int64_t at = b * planes.batch + c * planes.channel + first * planes.pixel, step = planes.pixel;
  const auto convert = [&](const auto* all) {
    const auto* p = all + at;
    if (step == 1) {
      for (int64_t i = 0; i < n; i += kCount) store(buffer + i, load<F>(p + i, n - i));
    } else {
      for (int64_t i = 0; i < n; ++i) buffer[i] = static_cast<A>(to_float(p[i * step]));
      for (int64_t i = n; i % kCount != 0; ++i) buffer[i] = 0;
    }
    return static_cast<const A*>(buffer);
  };
  if (planes.type == Dtype::kFloat64) {
    if constexpr (sizeof(A) == sizeof(double)) return convert(static_cast<const double*>(planes.data));
    return nullptr;  // any float64 argument makes A double
  }
  if (planes.type == Dtype::kFloat32) {
    if constexpr (sizeof(A) == sizeof(float)) {
      if (step == 1 && n == kChunk) return static_cast<const A*>(planes.data) + at;
    }
    return convert(static_cast<const float*>(planes.data));
  }
  if (planes.type == Dtype::kFloat16) return convert(static_cast<const Half*>(planes.data));
  return convert(static_cast<const BFloat16*>(planes.data));
}

// One coordinate of Lanes<F>::kCount positions: weight r at pixel `at`, l at the next; the vector form of bilinear.h,
// but l may be 1 (f = -1e-10), and r is 0 then, which gives the same weights. `lands`: one of the two pixels is in the target.
template <class F>
struct SplatAxis {
  F at, l, r;
  typename Lanes<F>::Mask lands;
};

template <class F>
VFI_INLINE SplatAxis<F> splat_axis(F f, F start, int64_t size, Padding padding) {
  const F zero = broadcast<F>(0), last = broadcast<F>(static_cast<Number<F>>(size - 1));
  const F one = broadcast<F>(1), whole = round_down(f), at = start + whole, l = f - whole;
  const F r = select(less(l, one), whole + one - f, zero);
  if (padding == Padding::kZeros) {
    const typename Lanes<F>::Mask lands = less_equal(broadcast<F>(-1), at) & less_equal(at, last);  // not NaN, infinity
    return {at, l, r, lands};
  }
  const auto everywhere = equal(zero, zero);
  if (padding == Padding::kReflection && size > 1) {
    const F far = broadcast<F>(kFar);
    const auto near = less(zero - far, f) & less(f, far);
    const MirroredAxis<F> m = mirrored_axis(select(near, whole, zero), start, r, l, last);
    return {select(near, m.at, zero), select(near, m.l, zero), select(near, m.r, one), everywhere};
  }
  const auto low = !less_equal(zero, at), high = less_equal(last, at);  // NaN is low
  return {select(low, zero, select(high, last, at)), select(low | high, zero, l), select(low | high, one, r),
          everywhere};
}

// A chunk of source pixels: its flow and m (or the factor, where it does not depend on the target) in A, and the weights
// of the corners that are used, bilinear weight times factor; 0 for the others. Corner k = 2 j + i of pixel p is at 4 p + k.
template <class A>
struct Chunk {
  const int64_t b, x, y, n;  // pixels x.. x + n of row y
  alignas(64) A flow_x_buffer[kChunk], flow_y_buffer[kChunk], m_buffer[kChunk];
  alignas(64) A weight[4 * kChunk];
  const A *flow_x, *flow_y, *m;

  Chunk(int64_t batch, int64_t first, int64_t row, int64_t count) : b(batch), x(first), y(row), n(count) {}
};

template <class A>
VFI_INLINE void read_flow(const ScatterArgs& s, Chunk<A>& c) {
  const int64_t first = c.y * s.W + c.x, owner = owner_of(s, c.b);
  if (s.path != nullptr) {
    const int32_t y = static_cast<int32_t>(c.y), x = static_cast<int32_t>(c.x);
    flow_of_tau(*s.path, owner, c.b - owner * s.path->T, y, x, c.n, c.flow_x_buffer, c.flow_y_buffer);
    c.flow_x = c.flow_x_buffer, c.flow_y = c.flow_y_buffer;
  } else {
    c.flow_x = read_chunk(s.flow, c.b, 0, first, c.n, c.flow_x_buffer);
    c.flow_y = read_chunk(s.flow, c.b, 1, first, c.n, c.flow_y_buffer);
  }
  c.m = s.factor == Factor::kOne ? nullptr : read_chunk(s.metric, owner, 0, first, c.n, c.m_buffer);
}

// Both coordinates of the pixels c.x + i..; `used`: they are not skipped and reach the target.
template <class F>
struct SplatPosition {
  SplatAxis<F> x, y;
  typename Lanes<F>::Mask used;
};

template <class F>
VFI_INLINE SplatPosition<F> locate(const ScatterArgs& s, const Chunk<Number<F>>& c, int64_t i) {
  const F x = lane_numbers<F>() + broadcast<F>(static_cast<Number<F>>(c.x + i));
  SplatPosition<F> p;
  p.x = splat_axis<F>(load<F>(c.flow_x + i), x, s.target_W, s.padding);
  p.y = splat_axis<F>(load<F>(c.flow_y + i), broadcast<F>(static_cast<Number<F>>(c.y)), s.target_H, s.padding);
  p.used = p.x.lands & p.y.lands;
  if (skips_by_metric(s.factor)) p.used = p.used & is_finite(load<F>(c.m + i));
  return p;
}

// Bilinear weights of the four corners; 0 where a corner is not used.
template <class F>
VFI_INLINE void corner_weights(const SplatPosition<F>& p, F* weight) {
  const F zero = broadcast<F>(0);
  weight[0] = select(p.used, p.x.r * p.y.r, zero), weight[1] = select(p.used, p.x.l * p.y.r, zero);
  weight[2] = select(p.used, p.x.r * p.y.l, zero), weight[3] = select(p.used, p.x.l * p.y.l, zero);
}

// c.m becomes the factor of every pixel, NaN where m is not finite. A loop of its own: the steps of exp follow one from
// another, and short iterations overlap better.
template <class F, class Function>
VFI_INLINE void replace_m(Chunk<Number<F>>& c, Function&& function) {
  for (int64_t i = 0; i < c.n; i += Lanes<F>::kCount) store(c.m_buffer + i, function(load<F>(c.m + i)));
  c.m = c.m_buffer;
}

template <class A>
void compute_factor(Factor kind, A shift, Chunk<A>& c) {
  using F = typename VectorFor<A>::type;
  const F one = broadcast<F>(1), zero = broadcast<F>(0), s = broadcast<F>(shift);
  if (kind == Factor::kSoftmax) replace_m<F>(c, [&](F m) { return exp(m - s) + (m - m); });
  if (kind == Factor::kSigmoid) replace_m<F>(c, [&](F m) { return one / (one + exp(zero - m)); });
  if (kind == Factor::kOneMinusSigmoid) replace_m<F>(c, [&](F m) { return one / (one + exp(m)); });
}

// c.weight times exp(m - shift), where every target has its own shift; (rows, columns) are the pixels' upper left corners.
template <class A>
void multiply_exp_at_targets(const ScatterArgs& s, Chunk<A>& c, const int32_t* rows, const int32_t* columns) {
  using F = typename VectorFor<A>::type;
  alignas(64) A shift[4 * kChunk];
  const A* plane = static_cast<const A*>(s.target_shift) + c.b * s.target_H * s.target_W;
  const int64_t last_row = s.target_H - 1, last_column = s.target_W - 1;
  for (int64_t i = 0; i < c.n; ++i) {  // for corners outside any shift will do: their cells are not looked at
    const A* top = plane + max(int64_t{rows[i]}, int64_t{0}) * s.target_W;
    const A* bottom = plane + min(int64_t{rows[i]} + 1, last_row) * s.target_W;
    const int64_t left = max(int64_t{columns[i]}, int64_t{0}), right = min(int64_t{columns[i]} + 1, last_column);
    shift[4 * i] = top[left], shift[4 * i + 1] = top[right];
    shift[4 * i + 2] = bottom[left], shift[4 * i + 3] = bottom[right];
  }
  constexpr int kCount = Lanes<F>::kCount;
  const F zero = broadcast<F>(0);
  for (int64_t i = 0; i < c.n; i += kCount) {
    const F m = load<F>(c.m + i);
    F repeated[4] = {m, m, m, m};
    interleave4(repeated);
    for (int k = 0; k < 4; ++k) {
      const int64_t at = 4 * i + k * kCount;
      const F w = load<F>(c.weight + at), e = exp(min(repeated[k] - load<F>(shift + at), zero));
      store(c.weight + at, select(equal(w, zero), zero, w * e));
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
