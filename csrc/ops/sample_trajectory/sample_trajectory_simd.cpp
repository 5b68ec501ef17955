// Flows along a trajectory on the CPU, compiled once per instruction set; formulas in sample_trajectory.h.
//
// Work: a thread owns output rows and cuts them into runs of pixels, whose keyframes it reads once for all taus. For the
// gradient of the keyframes it owns rows of these and adds what output rows give them, in order. Every result is one sum
// in a fixed order, so it does not depend on how rows are distributed over threads.
#include "sampling/simd_tiles.h"
#include "trajectories/trajectory_simd.h"
#include "ops/sample_trajectory/sample_trajectory.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// n numbers of a row to element `at` of the output.
template <class T, class A>
VFI_INLINE void write_row(const SampleArgs& a, const A* row, int64_t n, int64_t at, bool streams) {
  using F = typename VectorFor<A>::type;
  T* const to = static_cast<T*>(a.out) + at;
  for (int64_t i = 0; i < n; i += Lanes<F>::kCount) {
    const F v = load<F>(row + i);
    if constexpr (std::same_as<F, double>) {  // one lane, whatever the type of the output
      store_as(a.out, a.path.type, at + i, v, n - i);
    } else {
      streams&& n - i >= Lanes<F>::kCount ? stream(to + i, v) : store(to + i, v, n - i);
    }
  }
}

template <class T, class A>
void sample_as(const SampleArgs& a, int64_t begin, int64_t end, void* memory) {
  const Resize& r = a.path.size;
  const int64_t plane = int64_t{r.H} * r.W, count = a.path.T;
  const bool streams = can_stream(static_cast<T*>(a.out), a.B * count * 2 * plane, r.W);
  alignas(64) A flow[2][kChunk];
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / r.H, y = row % r.H;
    for (int32_t x = 0; x < r.W; x += kChunk) {
      const int64_t n = min(int64_t{kChunk}, int64_t{r.W} - x);
      const FlowsOfRun<A> run(a.path, b, static_cast<int32_t>(y), x, n, memory);
      for (int64_t t = 0; t < count; ++t) {
        run.flow(t, flow[0], flow[1]);
        const int64_t at = (b * count + t) * 2 * plane + y * r.W + x;
        for (int c = 0; c < 2; ++c) write_row<T, A>(a, flow[c], n, at + c * plane, streams);
      }
    }
  }
  if (streams) stream_fence();
}

// One row of g, times `scale`.
template <class A>
void read_row(const SampleGradArgs& a, int64_t at, int64_t n, A scale, A* row) {
  using F = typename VectorFor<A>::type;
  const auto convert = [&](const auto* p) {
    for (int64_t i = 0; i < n; i += Lanes<F>::kCount) store(row + i, broadcast<F>(scale) * load<F>(p + at + i, n - i));
  };
  if constexpr (sizeof(A) == sizeof(double)) {
    if (a.path.type == Dtype::kFloat64) return convert(static_cast<const double*>(a.grad_out));
  }
  if (a.path.type == Dtype::kFloat16) return convert(static_cast<const Half*>(a.grad_out));
  if (a.path.type == Dtype::kBFloat16) return convert(static_cast<const BFloat16*>(a.grad_out));
  convert(static_cast<const float*>(a.grad_out));
}

template <class A>
void taus_as(const SampleGradArgs& a, int64_t begin, int64_t end, void* memory) {
  const Trajectory& p = a.path;
  const Resize& r = p.size;
  const int64_t plane = int64_t{r.H} * r.W;
  alignas(64) A flow[2][kChunk], g[2][kChunk];
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / r.H, y = row % r.H;
    A* const sums = static_cast<A*>(a.grad_taus);
    for (int64_t t = 0; t < p.T && p.table != nullptr; ++t) sums[(b * p.T + t) * r.H + y] = 0;
    for (int32_t x = 0; x < r.W; x += kChunk) {
      const int64_t n = min(int64_t{kChunk}, int64_t{r.W} - x);
      const FlowsOfRun<A> run(p, b, static_cast<int32_t>(y), x, n, memory);
      for (int64_t t = 0; t < p.T; ++t) {
        run.flow(t, flow[0], flow[1]);
        for (int c = 0; c < 2; ++c) read_row(a, ((b * p.T + t) * 2 + c) * plane + y * r.W + x, n, A(1), g[c]);
        A sum = 0;
        for (int64_t i = 0; i < n; ++i) {
          A term = 0;
          for (int c = 0; c < 2; ++c) term = flow[c][i] - flow[c][i] == A(0) ? term + g[c][i] * flow[c][i] : term;
          sum += term;
          if (p.table == nullptr) write_as(a.grad_taus, p.tau_type, (b * p.T + t) * plane + y * r.W + x + i, term);
        }
        if (p.table != nullptr) sums[(b * p.T + t) * r.H + y] += sum;
      }
    }
  }
}

// Adds to one row of the keyframes what output rows give it.
template <class A>
class KeyframeGrad {
 public:
  KeyframeGrad(const SampleGradArgs& a, int64_t b, int32_t y, void* memory)
      : a_(a), p_(a.path), r_(a.path.size), b_(b), y_(y), sums_(static_cast<A*>(memory)) {
    moved_ = sums_ + 2 * int64_t{p_.curve.count} * r_.w;
    std::memset(sums_, 0, sizeof(A) * 2 * p_.curve.count * r_.w);
  }

  void run() {
    // Output rows that lie between y - 1 and y + 1, and some more.
    const int64_t first = r_.same() ? y_ : max(int64_t{0}, (int64_t{y_} - 1) * r_.H / r_.h - 1);
    const int64_t last = r_.same() ? y_ : min(int64_t{r_.H} - 1, (int64_t{y_} + 2) * r_.H / r_.h + 1);
    for (int64_t row = first; row <= last; ++row) {
      const ResizeAxis<A> at = resize_axis<A>(static_cast<int32_t>(row), r_.h, r_.H);
      const A weight = at.at == y_ ? A(1) - at.l : at.at + 1 == y_ ? at.l : A(0);
      if (weight == A(0)) continue;
      for (int64_t t = 0; t < p_.T; ++t) {
        for (int c = 0; c < 2; ++c) add_row(row, t, c, weight * (c ? scale_y<A>(r_) : scale_x<A>(r_)));
      }
    }
    for (int64_t k = 0; k < 2 * p_.curve.count; ++k) {
      const int64_t to = ((b_ * 2 * p_.curve.count + k) * r_.h + y_) * r_.w;
      for (int64_t x = 0; x < r_.w; ++x) write_as(a_.grad_keyframes, p_.type, to + x, sums_[k * r_.w + x]);
    }
  }

 private:
  void add_row(int64_t row, int64_t t, int c, A weight) {
    const int64_t at = ((b_ * p_.T + t) * 2 + c) * r_.H + row;
    alignas(64) A g[kChunk];
    if (p_.table != nullptr && !r_.same()) std::memset(moved_, 0, sizeof(A) * r_.w);
    for (int32_t x = 0; x < r_.W; x += kChunk) {
      const int64_t n = min(int64_t{kChunk}, int64_t{r_.W} - x);
      read_row(a_, at * r_.W + x, n, weight, g);
      if (p_.table == nullptr) {
        add_per_pixel(g, row, t, c, x, n);
      } else if (r_.same()) {
        add_taps(g, t, c, x, n);
      } else {
        for (int64_t i = 0; i < n; ++i) spread(moved_, x + static_cast<int32_t>(i), g[i]);
      }
    }
    if (p_.table != nullptr && !r_.same()) add_taps(moved_, t, c, 0, r_.w);
  }

  void spread(A* to, int32_t x, A g) const {
    const ResizeAxis<A> at = resize_axis<A>(x, r_.w, r_.W);
    to[at.at] += (A(1) - at.l) * g;
    if (at.l != A(0)) to[at.at + 1] += at.l * g;
  }
  A* sum_row(int64_t k, int c) const { return sums_ + (2 * k + c) * r_.w; }

  void add_taps(const A* g, int64_t t, int c, int32_t x, int64_t n) const {
    const Taps<A>& taps = static_cast<const Taps<A>*>(p_.table)[b_ * p_.T + t];
    for (int m = 0; m < 4; ++m) {
      if (!has_gradient(taps.w[m])) continue;
      A* const to = sum_row(taps.first + m, c) + x;
      for (int64_t i = 0; i < n; ++i) to[i] += taps.w[m] * g[i];
    }
  }
  void add_per_pixel(const A* g, int64_t row, int64_t t, int c, int32_t x, int64_t n) const {
    const int64_t from = ((b_ * p_.T + t) * r_.H + row) * r_.W + x;
    for (int64_t i = 0; i < n; ++i) {
      const Taps<A> taps = taps_at(p_.curve, read_as<A>(p_.taus, p_.tau_type, from + i), p_.order);
      for (int m = 0; m < 4; ++m) {
        if (has_gradient(taps.w[m])) spread(sum_row(taps.first + m, c), x + static_cast<int32_t>(i), taps.w[m] * g[i]);
      }
    }
  }

  const SampleGradArgs& a_;
  const Trajectory& p_;
  const Resize& r_;
  const int64_t b_;
  const int32_t y_;
  A *sums_, *moved_;  // [2 K, w]; [w]
};

}  // namespace

void sample_rows(const SampleArgs& a, int64_t begin, int64_t end, void* memory) {
  if (a.float64) return sample_as<double, double>(a, begin, end, memory);
  if (a.path.type == Dtype::kFloat32) return sample_as<float, float>(a, begin, end, memory);
  if (a.path.type == Dtype::kFloat16) return sample_as<Half, float>(a, begin, end, memory);
  sample_as<BFloat16, float>(a, begin, end, memory);
}

void sample_grad_taus(const SampleGradArgs& a, int64_t begin, int64_t end, void* memory) {
  a.float64 ? taus_as<double>(a, begin, end, memory) : taus_as<float>(a, begin, end, memory);
}

void sample_grad_keyframes(const SampleGradArgs& a, int64_t begin, int64_t end, void* memory) {
  for (int64_t row = begin; row < end; ++row) {
    const int64_t b = row / a.path.size.h;
    const int32_t y = static_cast<int32_t>(row % a.path.size.h);
    a.float64 ? KeyframeGrad<double>(a, b, y, memory).run() : KeyframeGrad<float>(a, b, y, memory).run();
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
