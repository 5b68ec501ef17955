// What softmax subtracts at each target, compiled once per instruction set; formulas in splat.h.
#include <limits>

#include "ops/splat/splat_landing.h"
#include "simd/simd_elements.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// The largest metric of each target's contributors, for a band of target rows that one thread owns. A maximum does not
// depend on the order, so neither does the result on the bands.
template <class A>
class BandMaximum {
  using F = typename VectorFor<A>::type;
  static constexpr int kCount = Lanes<F>::kCount;
  static constexpr A kNone = -std::numeric_limits<A>::infinity();

 public:
  BandMaximum(const ScatterArgs& s, int64_t b, int32_t begin, int32_t end) : s_(s), b_(b), begin_(begin), end_(end) {
    plane_ = static_cast<A*>(s.target_shift) + b * s.target_H * s.target_W;
  }

  void run(const RowReach* reach) {
    A *const first = plane_ + begin_ * s_.target_W, *const last = plane_ + end_ * s_.target_W;
    for (A* p = first; p < last; ++p) *p = kNone;
    for (int64_t y = 0; y < s_.H; ++y) {
      if (reach[y].last < begin_ || reach[y].first >= end_) continue;
      for (int64_t x = 0; x < s_.W; x += kChunk) add_chunk(x, y, min(int64_t{kChunk}, s_.W - x));
    }
    for (A* p = first; p < last; ++p) *p = *p == kNone ? 0 : *p;
  }

 private:
  // A corner that is not used takes part with kNone, at some cell of the band.
  void add_chunk(int64_t x, int64_t y, int64_t n) {
    Chunk<A> c(b_, x, y, n);
    read_flow(s_, c);
    const F none = broadcast<F>(kNone), zero = broadcast<F>(0), one = broadcast<F>(1);
    const F first_row = broadcast<F>(static_cast<A>(begin_)), last_row = broadcast<F>(static_cast<A>(end_ - 1));
    const F last_column = broadcast<F>(static_cast<A>(s_.target_W - 1));
    for (int64_t i = 0; i < n; i += kCount) {
      const SplatPosition<F> p = locate<F>(s_, c, i);
      const F left = select(p.used, p.x.at, zero), top = select(p.used, p.y.at, zero), m = load<F>(c.m + i);
      F weight[4];
      corner_weights(p, weight);
      for (int j = 0; j < 2; ++j) {
        const F row = j ? top + one : top;
        const auto mine = less_equal(first_row, row) & less_equal(row, last_row);
        for (int k = 0; k < 2; ++k) {
          const F column = k ? left + one : left;
          const auto inside = mine & less_equal(zero, column) & less_equal(column, last_column);
          const auto used = inside & not_equal(weight[2 * j + k], zero);
          weight[2 * j + k] = select(used, m, none);
        }
        store_int(rows_[j] + i, to_int(min(max(row, first_row), last_row)));
      }
      interleave4(weight);
      for (int k = 0; k < 4; ++k) store(c.weight + 4 * i + k * kCount, weight[k]);
      store_int(columns_[0] + i, to_int(min(max(left, zero), last_column)));
      store_int(columns_[1] + i, to_int(min(left + one, last_column)));
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int j = 0; j < 2; ++j) {
        A* const row = plane_ + int64_t{rows_[j][i]} * s_.target_W;
        for (int k = 0; k < 2; ++k) {
          A* const cell = row + columns_[k][i];
          *cell = max(*cell, c.weight[4 * i + 2 * j + k]);
        }
      }
    }
  }

  const ScatterArgs& s_;
  const int64_t b_;
  const int32_t begin_, end_;
  A* plane_;
  alignas(64) int32_t rows_[2][kChunk], columns_[2][kChunk];
};

}  // namespace

void splat_shift(const ScatterArgs& s, const RowReach* reach, int64_t b, int32_t begin, int32_t end) {
  if (s.float64) {
    BandMaximum<double>(s, b, begin, end).run(reach);
  } else {
    BandMaximum<float>(s, b, begin, end).run(reach);
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
