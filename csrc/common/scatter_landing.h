// Where a chunk of source pixels lands and with which weights, for the scatter's kernels and the splat's. For *_simd.cpp
// only. F is F32, or double with one lane.
#pragma once

#include "common/scatter.h"
#include "common/simd.h"

namespace vfi {
namespace VFI_LEVEL {

constexpr int kChunk = 128;  // source pixels of one row; their data stay in the first-level cache

template <class A>
struct VectorFor;
template <>
struct VectorFor<float> {
  using type = F32;
};
template <>
struct VectorFor<double> {
  using type = double;
};

template <class F>
using Number = typename Lanes<F>::Scalar;

template <class F>
VFI_INLINE typename Lanes<F>::Mask is_finite(F x) {
  return equal(x - x, broadcast<F>(0));
}

VFI_INLINE void store_int(int32_t* p, I32 v) { std::memcpy(p, &v, sizeof v); }
VFI_INLINE void store_int(int32_t* p, int64_t v) { *p = static_cast<int32_t>(v); }

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

// One coordinate of Lanes<F>::kCount positions: weight 1 - l at pixel `at`, l at the next; the vector form of bilinear.h.
// `lands`: one of the two pixels is in the target.
template <class F>
struct Landing {
  F at, l;
  typename Lanes<F>::Mask lands;
};

template <class F>
VFI_INLINE Landing<F> land(F f, F start, int64_t size, Padding padding) {
  const F zero = broadcast<F>(0), one = broadcast<F>(1), last = broadcast<F>(static_cast<Number<F>>(size - 1));
  F whole = round_down(f), l = f - whole;
  const auto ordinary = less(l, one);  // not rounded up to 1 (f = -1e-10), NaN or infinite
  const F at = start + select(ordinary, whole, whole + one);
  l = select(ordinary, l, zero);
  if (padding == Padding::kZeros) {
    const typename Lanes<F>::Mask lands = less_equal(zero - one, at) & less_equal(at, last);
    return {at, l, lands};
  }
  const auto low = !less_equal(zero, at), high = less_equal(last, at);  // NaN is low
  return {select(low, zero, select(high, last, at)), select(low | high, zero, l), equal(zero, zero)};
}

// The data of the chunk in A, and what is computed from them for each pixel.
template <class A>
struct Chunk {
  alignas(64) A flow_x[kChunk], flow_y[kChunk], m[kChunk];  // buffers of read_chunk
  alignas(64) A corner[4][kChunk];                          // bilinear weight of corner 2 j + i; 0 where it is not used
  alignas(64) A weight[4][kChunk];                          // the same times the factor, if there is one
  const A *x, *y, *factor;                                  // flow and m of this chunk
};

template <class A>
VFI_INLINE bool has_metric(const ScatterArgs& s) {
  return s.factor == Factor::kValue || s.factor == Factor::kExp;
}

template <class A>
VFI_INLINE void read_flow(const ScatterArgs& s, int64_t b, int64_t y, int64_t x, int64_t n, Chunk<A>& c) {
  c.x = read_chunk(s.flow, b, 0, y * s.W + x, n, c.flow_x);
  c.y = read_chunk(s.flow, b, 1, y * s.W + x, n, c.flow_y);
  c.factor = s.factor == Factor::kOne ? nullptr : read_chunk(s.factor_of, b, 0, y * s.W + x, n, c.m);
}

// Both coordinates of the pixels (x + i.., y); `used`: they exist, are not skipped and reach the target.
template <class F>
struct Position {
  Landing<F> x, y;
  typename Lanes<F>::Mask used;
};

template <class F>
VFI_INLINE Position<F> locate(const ScatterArgs& s, const Chunk<Number<F>>& c, int64_t x, int64_t y, int64_t i, int64_t n) {
  const F lane = lane_numbers<F>() + broadcast<F>(static_cast<Number<F>>(i));
  Position<F> p;
  p.x = land<F>(load<F>(c.x + i), lane + broadcast<F>(static_cast<Number<F>>(x)), s.target_W, s.padding);
  p.y = land<F>(load<F>(c.y + i), broadcast<F>(static_cast<Number<F>>(y)), s.target_H, s.padding);
  p.used = p.x.lands & p.y.lands & less(lane, broadcast<F>(static_cast<Number<F>>(n)));
  if (has_metric<F>(s)) p.used = p.used & is_finite(load<F>(c.factor + i));
  return p;
}

// Bilinear weights of the four corners; 0 where a corner is not used.
template <class F>
VFI_INLINE void corner_weights(const Position<F>& p, F* weight) {
  const F one = broadcast<F>(1), zero = broadcast<F>(0);
  const F top = one - p.y.l, left = one - p.x.l;
  weight[0] = select(p.used, left * top, zero), weight[1] = select(p.used, p.x.l * top, zero);
  weight[2] = select(p.used, left * p.y.l, zero), weight[3] = select(p.used, p.x.l * p.y.l, zero);
}

// exp(m - shift) of a whole chunk where every target has its own shift, times corner weight k.
template <class A>
void multiply_exp_at_targets(const ScatterArgs& s, int64_t b, Chunk<A>& c, int64_t x, int64_t y, int64_t n) {
  using F = typename VectorFor<A>::type;
  alignas(64) int32_t rows[kChunk], columns[kChunk];
  for (int64_t i = 0; i < n; i += Lanes<F>::kCount) {
    const Position<F> p = locate<F>(s, c, x, y, i, n);
    store_int(rows + i, to_int(select(p.used, p.y.at, broadcast<F>(0))));
    store_int(columns + i, to_int(select(p.used, p.x.at, broadcast<F>(0))));
  }
  const A* shift = static_cast<const A*>(s.target_shift) + b * s.target_H * s.target_W;
  const int64_t last_row = s.target_H - 1, last_column = s.target_W - 1;
  for (int64_t i = 0; i < n; ++i) {  // corners outside are read inside: their cells are not looked at
    const A* top = shift + max(int64_t{rows[i]}, int64_t{0}) * s.target_W;
    const A* bottom = shift + min(int64_t{rows[i]} + 1, last_row) * s.target_W;
    const int64_t left = max(int64_t{columns[i]}, int64_t{0}), right = min(int64_t{columns[i]} + 1, last_column);
    c.weight[0][i] = top[left], c.weight[1][i] = top[right];
    c.weight[2][i] = bottom[left], c.weight[3][i] = bottom[right];
  }
  const F zero = broadcast<F>(0);
  for (int64_t i = 0; i < n; i += Lanes<F>::kCount) {
    const F m = load<F>(c.factor + i);
    for (int k = 0; k < 4; ++k) {
      const F w = load<F>(c.corner[k] + i), e = exp(min(m - load<F>(c.weight[k] + i), zero));
      store(c.weight[k] + i, select(equal(w, zero), zero, w * e));
    }
  }
}

template <class F>
VFI_INLINE F factor_of(Factor kind, F m, F shift) {
  const F one = broadcast<F>(1), zero = broadcast<F>(0);
  switch (kind) {
    case Factor::kOne: return one;
    case Factor::kValue: return m;
    case Factor::kSigmoid: return one / (one + exp(zero - m));
    case Factor::kOneMinusSigmoid: return one / (one + exp(m));
    case Factor::kExp: return exp(m - shift);
  }
  __builtin_unreachable();
}

// c.weight = c.corner times the factor; exactly 0 where c.corner is.
template <class A>
void multiply_factor(const ScatterArgs& s, int64_t b, Chunk<A>& c, int64_t x, int64_t y, int64_t n) {
  using F = typename VectorFor<A>::type;
  const double shift = s.factor == Factor::kExp ? s.sample_shift[b] : 0.0;
  if (shift != shift) return multiply_exp_at_targets(s, b, c, x, y, n);
  const F zero = broadcast<F>(0);
  for (int64_t i = 0; i < n; i += Lanes<F>::kCount) {
    const F e = factor_of(s.factor, load<F>(c.factor + i), broadcast<F>(static_cast<A>(shift)));
    for (int k = 0; k < 4; ++k) {
      const F w = load<F>(c.corner[k] + i);
      store(c.weight[k] + i, select(equal(w, zero), zero, w * e));
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
