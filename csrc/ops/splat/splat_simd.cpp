// The splat on the CPU, compiled once per instruction set; formulas in splat.h and splatting/scatter.h.
//
// Work: a thread owns a band of target rows and reads every source row that reaches it, in order, a chunk at a time. Its
// accumulators are a ring of target rows, as many as source rows can reach at a time; a row is divided and written as soon
// as no later source row reaches it. Each target cell thus adds its contributions in an order that only the places of the
// source pixels determine, whatever the bands: the result does not depend on the number of threads, and no addition is
// atomic.
#include "ops/splat/splat_tile.h"
#include "simd/simd_elements.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class A, int kWidth>
class BandScatter {
  using F = typename VectorFor<A>::type;
  using Weight = SplatBand::Weight;
  static constexpr int kCount = Lanes<F>::kCount, kApart = kWidth == kNarrowCell ? 4 : 1;

 public:
  BandScatter(const ScatterArgs& s, const SplatBand& band)
      : s_(s), band_(band), columns_(static_cast<int32_t>(ring_columns(s))), first_(band.begin) {
    const double shift = s.factor == Factor::kSoftmax ? s.sample_shift[band.b] : 0.0;
    own_shifts_ = shift != shift;
    shift_ = static_cast<A>(shift);
    SplatRing<A> ring;
    ring.lay_out(s, band, band.memory);
    ring_ = ring.cells, plane_ring_ = ring.weights;
    std::memset(ring_, 0, sizeof(A) * ring.cell_count);
    std::memset(plane_ring_, 0, sizeof(A) * ring.weight_count);
  }

  void run() {
    for (int64_t y = 0; y < s_.H; ++y) {
      finish_until(min(int64_t{band_.still_open[y]}, int64_t{band_.end}));
      const RowReach& reach = band_.reach[y];
      if (reach.last < band_.begin || reach.first >= band_.end) continue;
      for (int64_t x = 0; x < s_.W; x += kChunk) add_chunk(x, y, min(int64_t{kChunk}, s_.W - x));
    }
    finish_until(band_.end);
    stream_fence();
  }

 private:
  void add_chunk(int64_t x, int64_t y, int64_t n) {
    Chunk<A> c(band_.b, x, y, n);
    read_flow(s_, c);
    if (!own_shifts_) compute_factor(s_.factor, shift_, c);
    if (!place(c)) return;
    prefetch_cells(n);
    if (own_shifts_) multiply_exp_at_targets(s_, c, row_, column_);
    const bool one = band_.weight == Weight::kLane;
    if (stage<kWidth>(s_.values, owner_of(s_, c.b), band_.c, band_.channels, one, y * s_.W + x, n, tile_)) {
      add_tile(c.weight, n);
    } else {
      add_tile_careful(c);
    }
    if (band_.weight == Weight::kPlane) add_weights(c.weight, n);
  }

  // The cells of the corners and their weights; whether any pixel lands in the band. Corners that are not used, or in
  // another band's rows, go to the row after the ring, or to the columns beside it.
  bool place(Chunk<A>& c) {
    const F zero = broadcast<F>(0), begin = broadcast<F>(A(band_.begin)), last = broadcast<F>(A(band_.end - 1));
    const typename Lanes<F>::Int none = {}, nowhere = none + band_.ring_rows * columns_;
    const int32_t turn = slot_ - first_;
    const bool multiplies = !own_shifts_ && s_.factor != Factor::kOne;
    auto lands = less(zero, zero);
    for (int64_t i = 0; i < c.n; i += kCount) {
      const SplatPosition<F> p = locate<F>(s_, c, i);
      F weight[4];
      corner_weights(p, weight);
      if (multiplies) {
        const F e = load<F>(c.m + i);
        for (int k = 0; k < 4; ++k) weight[k] = select(equal(weight[k], zero), zero, weight[k] * e);
      }
      interleave4(weight);
      for (int k = 0; k < 4; ++k) store(c.weight + 4 * i + k * kCount, weight[k]);
      const auto in_top = p.used & less_equal(begin, p.y.at) & less_equal(p.y.at, last);
      const auto in_bottom = p.used & less_equal(begin - broadcast<F>(1), p.y.at) & less(p.y.at, last);
      lands = lands | in_top | in_bottom;
      const auto row = to_int(select(p.used, p.y.at, zero)), column = to_int(select(p.used, p.x.at, zero));
      auto top = (row + turn) * columns_;
      top = select(less(top, nowhere), top, top - nowhere);
      auto bottom = top + columns_;
      bottom = select(less(bottom, nowhere), bottom, bottom - nowhere);
      store_int(top_ + i, select(in_top, top, nowhere) + column + 1);
      store_int(bottom_ + i, select(in_bottom, bottom, nowhere) + column + 1);
      if (own_shifts_) store_int(row_ + i, row), store_int(column_ + i, column);
    }
    return any(lands);
  }

  // The lower row is mostly one that this source row is the first to reach; the ring may be larger than the caches.
  void prefetch_cells(int64_t n) {
    constexpr int64_t kStep = kWidth == kNarrowCell ? 64 / sizeof(A) / kNarrowCell : 1;
    for (int64_t i = 0; i < n; i += kStep) prefetch_for_write(ring_ + int64_t{bottom_[i]} * kWidth);
  }

  // Narrow cells: every fourth pixel, then the next ones. Neighbours mostly add to the same cells, and a load of two cells
  // waits for a store to one of them that has just been made. Adding 0 where a corner is not used does no harm: a sum that
  // starts from +0 is never -0.
  void add_tile(const A* weight, int64_t n) {
    for (int64_t first = 0; first < kApart; ++first) {
      for (int64_t i = first; i < n; i += kApart) {
        const Cell<A, kWidth> value(tile_ + i * kWidth);
        value.add_to_both(ring_ + int64_t{top_[i]} * kWidth, weight + 4 * i);
        value.add_to_both(ring_ + int64_t{bottom_[i]} * kWidth, weight + 4 * i + 2);
      }
    }
  }

  // The same where some value is not finite: a corner that is not used must not be touched.
  void add_tile_careful(const Chunk<A>& c) {
    alignas(64) A used[4 * kChunk];
    for (int64_t i = 0; i < c.n; i += kCount) {
      F corner[4];
      corner_weights(locate<F>(s_, c, i), corner);
      interleave4(corner);
      for (int k = 0; k < 4; ++k) store(used + 4 * i + k * kCount, corner[k]);
    }
    for (int64_t first = 0; first < kApart; ++first) {
      for (int64_t i = first; i < c.n; i += kApart) {
        A* const cells[] = {ring_ + int64_t{top_[i]} * kWidth, ring_ + int64_t{bottom_[i]} * kWidth};
        const Cell<A, kWidth> value(tile_ + i * kWidth);
        for (int64_t k = 0; k < 4; ++k) {
          if (used[4 * i + k] != 0) value.add_to(cells[k >> 1] + (k & 1) * kWidth, c.weight[4 * i + k]);
        }
      }
    }
  }

  void add_weights(const A* weight, int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      A *const top = plane_ring_ + top_[i], *const bottom = plane_ring_ + bottom_[i];
      top[0] += weight[4 * i], top[1] += weight[4 * i + 1];
      bottom[0] += weight[4 * i + 2], bottom[1] += weight[4 * i + 3];
    }
  }

  void finish_until(int64_t row) {
    for (; first_ < row; ++first_) {
      A* const cells = ring_ + int64_t{slot_} * columns_ * kWidth + kWidth;
      A* const plane = plane_ring_ + int64_t{slot_} * columns_ + 1;
      for (int64_t x = 0; x < s_.target_W; x += kChunk) {
        finish_chunk(cells + x * kWidth, plane + x, x, min(int64_t{kChunk}, s_.target_W - x));
      }
      std::memset(cells - kWidth, 0, sizeof(A) * columns_ * kWidth);
      if (band_.weight == Weight::kPlane) std::memset(plane - 1, 0, sizeof(A) * columns_);
      slot_ = slot_ + 1 == band_.ring_rows ? 0 : slot_ + 1;
    }
  }

  void finish_chunk(A* cells, const A* plane, int64_t x, int64_t n) {
    const int64_t pixel = int64_t{first_} * s_.target_W + x;
    F inverse[kChunk / kCount];
    if (s_.division != Division::kNone) divide_by(cells, plane, pixel, n, inverse);
    const Planes& t = s_.target;
    const int64_t at = band_.b * t.batch + band_.c * t.channel + pixel * t.pixel;
    const F* inverses = s_.division == Division::kNone ? nullptr : inverse;
    const auto typed = [&](auto* p) {
      if (t.pixel == 1) {
        unstage_planes<kWidth>(cells, inverses, p + at, t.channel, band_.channels, n, streams(p));
      } else {
        unstage_pixels<kWidth>(cells, inverses, p + at, t.pixel, band_.channels, n);
      }
    };
    if constexpr (sizeof(A) == sizeof(double)) {
      if (t.type == Dtype::kFloat64) return typed(static_cast<double*>(t.data));
    }
    if (t.type == Dtype::kFloat32) return typed(static_cast<float*>(t.data));
    if (t.type == Dtype::kFloat16) return typed(static_cast<Half*>(t.data));
    typed(static_cast<BFloat16*>(t.data));
  }

  // For results that the caches cannot hold. Rows have to be aligned.
  template <class T>
  bool streams(const T* p) const {
    constexpr int64_t kLarge = int64_t{4} << 20;
    const int64_t bytes = s_.B * s_.C * s_.target_H * s_.target_W * static_cast<int64_t>(sizeof(T));
    return bytes >= kLarge && s_.target_W % kCount == 0 && reinterpret_cast<uintptr_t>(p) % (kCount * sizeof(T)) == 0;
  }

  // What n target pixels are multiplied by; D is stored where it is new.
  void divide_by(const A* cells, const A* plane, int64_t pixel, int64_t n, F* inverse) {
    A* const weight =
        static_cast<A*>(s_.weight) + (s_.weight == nullptr ? 0 : band_.b * s_.target_H * s_.target_W + pixel);
    for (int64_t i = 0; i < n; i += kCount) {
      F d;
      if (band_.weight == Weight::kReady) {
        d = load<F>(weight + i, n - i);
      } else if (band_.weight == Weight::kPlane) {
        d = load<F>(plane + i);
      } else {
        F rows[kNarrowCell];
        for (int k = 0; k < kNarrowCell; ++k) rows[k] = load<F>(cells + i * kWidth + k * kCount);
        deinterleave4(rows);
        d = rows[kNarrowCell - 1];
      }
      if (band_.weight != Weight::kReady && s_.weight != nullptr) store(weight + i, d, n - i);
      inverse[i / kCount] = reciprocal(d, s_.division);
    }
  }

  const ScatterArgs& s_;
  const SplatBand& band_;
  const int32_t columns_;
  int32_t first_, slot_ = 0;  // the first target row that is not finished, and its place in the ring
  A *ring_, *plane_ring_;     // cells [ring_rows + 1, columns_, kWidth]; weights [ring_rows + 1, columns_]
  bool own_shifts_;           // of the targets
  A shift_;                   // of the sample
  alignas(64) int32_t row_[kChunk], column_[kChunk];  // upper left corners, where own_shifts_
  alignas(64) int32_t top_[kChunk], bottom_[kChunk];  // cells of the pixels' left corners
  alignas(64) A tile_[kChunk * kWidth];
};

template <class A>
void measure_row(const ScatterArgs& s, int64_t b, int64_t y, RowReach& reach) {
  using F = typename VectorFor<A>::type;
  constexpr A kInfinity = std::numeric_limits<A>::infinity();
  const F above = broadcast<F>(kInfinity), below = broadcast<F>(-kInfinity);
  F first = above, last = below, low = above, high = below;
  for (int64_t x = 0; x < s.W; x += kChunk) {
    Chunk<A> c(b, x, y, min(int64_t{kChunk}, s.W - x));
    read_flow(s, c);
    for (int64_t i = 0; i < c.n; i += Lanes<F>::kCount) {
      const auto exists = less(lane_numbers<F>(), broadcast<F>(static_cast<A>(c.n - i)));
      const SplatPosition<F> p = locate<F>(s, c, i);
      const auto used = p.used & exists;
      first = min(first, select(used, p.y.at, above));
      last = max(last, select(used, p.y.at, below));
      if (s.factor != Factor::kSoftmax) continue;
      const F m = load<F>(c.m + i);
      const auto lands = exists & is_finite(m) & is_finite(load<F>(c.flow_x + i)) & is_finite(load<F>(c.flow_y + i));
      low = min(low, select(lands, m, above));
      high = max(high, select(lands, m, below));
    }
  }
  constexpr int kCount = Lanes<F>::kCount;
  A all[4][kCount];
  store(all[0], first), store(all[1], last), store(all[2], low), store(all[3], high);
  for (int i = 1; i < kCount; ++i) {
    all[0][0] = min(all[0][0], all[0][i]), all[1][0] = max(all[1][0], all[1][i]);
    all[2][0] = min(all[2][0], all[2][i]), all[3][0] = max(all[3][0], all[3][i]);
  }
  const bool lands = all[0][0] <= all[1][0];
  reach.first = lands ? static_cast<int32_t>(max(all[0][0], A(0))) : 1;
  reach.last = lands ? static_cast<int32_t>(min(all[1][0] + 1, static_cast<A>(s.target_H - 1))) : 0;
  reach.low = all[2][0], reach.high = all[3][0];
}

}  // namespace

void splat_reach(const ScatterArgs& s, RowReach* reach, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    if (s.float64) {
      measure_row<double>(s, row / s.H, row % s.H, reach[row]);
    } else {
      measure_row<float>(s, row / s.H, row % s.H, reach[row]);
    }
  }
}

void splat_band(const ScatterArgs& s, const SplatBand& band) {
  const bool narrow = cell_width(band.channels) == kNarrowCell;
  if (s.float64) {
    narrow ? BandScatter<double, kNarrowCell>(s, band).run() : BandScatter<double, kWideCell>(s, band).run();
  } else {
    narrow ? BandScatter<float, kNarrowCell>(s, band).run() : BandScatter<float, kWideCell>(s, band).run();
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
