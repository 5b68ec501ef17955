// Flows along trajectories for runs of pixels of one output row. For *_simd.cpp only. F is F32, or double with one lane.
#pragma once

#include "base/elements.h"
#include "simd/simd_chunk.h"
#include "trajectories/trajectory.h"

namespace vfi {
namespace VFI_LEVEL {

template <class F>
VFI_INLINE typename Lanes<F>::Int load_int(const int32_t* p) {
  typename Lanes<F>::Int v;
  if constexpr (Lanes<F>::kCount == 1) {
    v = *p;
  } else {
    std::memcpy(&v, p, sizeof v);
  }
  return v;
}

// The keyframes resized to n <= kChunk pixels of output row y, from x on.
template <class A>
class KeyframeReader {
  using F = typename VectorFor<A>::type;
  static constexpr int kCount = Lanes<F>::kCount;

 public:
  KeyframeReader(const Trajectory& p, int64_t b, int32_t y, int32_t x, int64_t n) : p_(p), b_(b), n_(n) {
    const Resize& r = p.size;
    row_ = resize_axis<A>(y, r.h, r.H);
    first_ = r.same() ? x : 0;
    if (r.same() || r.w == 1) return;
    for (int64_t i = 0; i < kChunk && i < n + kCount; ++i) {
      const ResizeAxis<A> a = resize_axis<A>(x + static_cast<int32_t>(min(i, n - 1)), r.w, r.W);
      const bool at_end = a.at == r.w - 1;  // pairs of pixels are read
      at_[i] = at_end ? a.at - 1 : a.at;
      l_[i] = at_end ? A(1) : a.l;
    }
  }

  // Component c of keyframe k: the keyframe itself where it can be read with whole vectors, else `buffer`.
  const A* read(int64_t k, int c, A* buffer) const {
    const int64_t plane = int64_t{p_.size.h} * p_.size.w, at = ((b_ * p_.curve.count + k) * 2 + c) * plane;
    const auto typed = [&](const auto* all) { return read_plane(all + at, c, buffer); };
    if constexpr (sizeof(A) == sizeof(double)) {
      if (p_.type == Dtype::kFloat64) return typed(static_cast<const double*>(p_.keyframes));
    }
    if (p_.type == Dtype::kFloat16) return typed(static_cast<const Half*>(p_.keyframes));
    if (p_.type == Dtype::kBFloat16) return typed(static_cast<const BFloat16*>(p_.keyframes));
    return typed(static_cast<const float*>(p_.keyframes));
  }

 private:
  template <class T>
  const A* read_plane(const T* plane, int c, A* buffer) const {
    const Resize& r = p_.size;
    const T* const top = plane + int64_t{row_.at} * r.w + first_;
    if (r.same()) {
      if constexpr (std::same_as<T, A>) {
        if (n_ % kCount == 0) return top;
      }
      for (int64_t i = 0; i < n_; i += kCount) store(buffer + i, load<F>(top + i, n_ - i));
      return buffer;
    }
    const A scale = c ? scale_y<A>(r) : scale_x<A>(r);
    if (r.w == 1) {
      A pixel = static_cast<A>(to_float(top[0]));
      if (row_.l != A(0)) pixel = (A(1) - row_.l) * pixel + row_.l * static_cast<A>(to_float(top[1]));
      const F value = broadcast<F>(scale * pixel);
      for (int64_t i = 0; i < n_; i += kCount) store(buffer + i, value);
      return buffer;
    }
    row_.l == A(0) ? between<false>(top, scale, buffer) : between<true>(top, scale, buffer);
    return buffer;
  }

  template <bool kTwoRows, class T>
  void between(const T* top, A scale, A* buffer) const {
    const F zero = broadcast<F>(0), one = broadcast<F>(1), upper = broadcast<F>(A(1) - row_.l), lower = broadcast<F>(row_.l);
    for (int64_t i = 0; i < n_; i += kCount) {
      const auto offsets = load_int<F>(at_ + i);
      const F l = load<F>(l_ + i);
      F a, b;
      gather_pairs<F>(top, offsets, a, b);
      if constexpr (kTwoRows) {
        F below_a, below_b;
        gather_pairs<F>(top + p_.size.w, offsets, below_a, below_b);
        a = fma(lower, below_a, upper * a);
        b = fma(lower, below_b, upper * b);
      }
      const F mixed = select(equal(l, one), b, fma(l, b, (one - l) * a));
      store(buffer + i, broadcast<F>(scale) * select(equal(l, zero), a, mixed));
    }
  }

  const Trajectory& p_;
  const int64_t b_, n_;
  ResizeAxis<A> row_;
  int64_t first_;
  alignas(64) int32_t at_[kChunk];
  alignas(64) A l_[kChunk];
};

// flow[i] = sum over the taps of w[m] rows[2 m][i], for n pixels and kUsed taps.
template <int kUsed, class A>
VFI_INLINE void mix_rows(const A* w, const A* const* rows, int64_t n, A* flow) {
  using F = typename VectorFor<A>::type;
  for (int64_t i = 0; i < n; i += Lanes<F>::kCount) {
    F sum = broadcast<F>(w[0]) * load<F>(rows[0] + i);
    for (int m = 1; m < kUsed; ++m) sum = fma(broadcast<F>(w[m]), load<F>(rows[m] + i), sum);
    store(flow + i, sum);
  }
}

// The flow of one tau; row(m, c) gives component c of keyframe taps.first + m. Only taps with a weight are read.
template <class A, class Row>
VFI_INLINE void mix_taps(const Taps<A>& taps, int64_t n, A* flow_x, A* flow_y, Row&& row) {
  A w[4];
  const A* rows[2][4];
  int used = 0;
  for (int m = 0; m < 4; ++m) {
    if (taps.w[m] == A(0)) continue;
    w[used] = taps.w[m];
    for (int c = 0; c < 2; ++c) rows[c][used] = row(m, c);
    ++used;
  }
  for (int c = 0; c < 2; ++c) {
    A* const flow = c ? flow_y : flow_x;
    if (used == 4) mix_rows<4>(w, rows[c], n, flow);
    if (used == 3) mix_rows<3>(w, rows[c], n, flow);
    if (used == 2) mix_rows<2>(w, rows[c], n, flow);
    if (used == 1) mix_rows<1>(w, rows[c], n, flow);
    if (used == 0) std::memset(flow, 0, sizeof(A) * kChunk);
  }
}

// n pixels whose taus differ.
template <class A>
void flow_per_pixel(const Trajectory& p, int64_t b, int64_t t, int32_t y, int32_t x, int64_t n, A* flow_x, A* flow_y) {
  const int64_t plane = int64_t{p.size.h} * p.size.w, first = ((b * p.T + t) * p.size.H + y) * p.size.W + x;
  const auto read = [&](int64_t k, int32_t row, int32_t column, A(&pixel)[2]) {
    const int64_t at = (b * p.curve.count + k) * 2 * plane + int64_t{row} * p.size.w + column;
    for (int c = 0; c < 2; ++c) pixel[c] = read_as<A>(p.keyframes, p.type, at + c * plane);
  };
  for (int64_t i = 0; i < kChunk; ++i) flow_x[i] = flow_y[i] = A(0);
  for (int64_t i = 0; i < n; ++i) {
    A flow[2];
    const Taps<A> taps = taps_at(p.curve, read_as<A>(p.taus, p.tau_type, first + i), p.order);
    trajectory_flow(taps, p.size, y, x + static_cast<int32_t>(i), read, flow);
    flow_x[i] = flow[0], flow_y[i] = flow[1];
  }
}

// The flow of one tau at n pixels; both arrays have room for kChunk.
template <class A>
void flow_of_tau(const Trajectory& p, int64_t b, int64_t t, int32_t y, int32_t x, int64_t n, A* flow_x, A* flow_y) {
  if (p.table == nullptr) return flow_per_pixel(p, b, t, y, x, n, flow_x, flow_y);
  const Taps<A>& taps = static_cast<const Taps<A>*>(p.table)[b * p.T + t];
  const KeyframeReader<A> reader(p, b, y, x, n);
  alignas(64) A buffer[8][kChunk];
  mix_taps(taps, n, flow_x, flow_y, [&](int m, int c) { return reader.read(taps.first + m, c, buffer[2 * m + c]); });
}

// All taus of a run of pixels: the keyframes are read once. `memory`: run_memory_bytes().
template <class A>
class FlowsOfRun {
 public:
  FlowsOfRun(const Trajectory& p, int64_t b, int32_t y, int32_t x, int64_t n, void* memory)
      : p_(p), b_(b), n_(n), y_(y), x_(x), memory_(static_cast<A*>(memory)), reader_(p, b, y, x, n) {
    if (p.table == nullptr || direct()) return;
    for (int64_t k = 0; k < 2 * p.curve.count; ++k) reader_.read(k / 2, static_cast<int>(k % 2), memory_ + k * kChunk);
  }
  void flow(int64_t t, A* flow_x, A* flow_y) const {
    if (p_.table == nullptr) return flow_per_pixel(p_, b_, t, y_, x_, n_, flow_x, flow_y);
    const Taps<A>& taps = static_cast<const Taps<A>*>(p_.table)[b_ * p_.T + t];
    mix_taps(taps, n_, flow_x, flow_y, [&](int m, int c) {
      A* const row = memory_ + (2 * int64_t{taps.first + m} + c) * kChunk;
      return direct() ? reader_.read(taps.first + m, c, row) : static_cast<const A*>(row);
    });
  }

 private:
  // The reader gives the keyframes themselves.
  bool direct() const {
    const bool own_type = p_.type == (sizeof(A) == sizeof(double) ? Dtype::kFloat64 : Dtype::kFloat32);
    return p_.size.same() && own_type && n_ % Lanes<typename VectorFor<A>::type>::kCount == 0;
  }

  const Trajectory& p_;
  const int64_t b_, n_;
  const int32_t y_, x_;
  A* memory_;
  KeyframeReader<A> reader_;
};

}  // namespace VFI_LEVEL
}  // namespace vfi
