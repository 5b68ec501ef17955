// The scatter's kernels, compiled once per instruction set; formulas in scatter.h.
//
// Work: a thread owns a band of target rows and reads every source row that reaches it, in order, a chunk at a time. Its
// accumulators are a ring of target rows, as many as source rows can reach at a time; a row is divided and written as soon
// as no later source row reaches it. Each target cell thus adds its contributions in row-major order of the source pixels,
// whatever the bands: the result does not depend on the number of threads, and no addition is atomic.
#include "common/scatter_tile.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class A, int kWidth>
class BandScatter {
  using F = typename VectorFor<A>::type;
  using Weight = ScatterBand::Weight;
  static constexpr int kCount = Lanes<F>::kCount;

 public:
  BandScatter(const ScatterArgs& s, const ScatterBand& band)
      : s_(s), band_(band), columns_(static_cast<int32_t>(ring_columns(s))), first_(band.begin) {
    ring_ = static_cast<A*>(band.memory);
    plane_ring_ = ring_ + int64_t{band.ring_rows + 1} * columns_ * kWidth;
    const bool has_plane = band.weight == Weight::kPlane;
    std::memset(band.memory, 0, sizeof(A) * (band.ring_rows + 1) * columns_ * (kWidth + has_plane));
  }

  void run() {
    for (int64_t y = 0; y < s_.H; ++y) {
      finish_until(min(int64_t{band_.still_open[y]}, int64_t{band_.end}));
      const RowReach& reach = band_.reach[y];
      if (reach.last < band_.begin || reach.first >= band_.end) continue;
      for (int64_t x = 0; x < s_.W; x += kChunk) add_chunk(x, y, min(int64_t{kChunk}, s_.W - x));
    }
    finish_until(band_.end);
  }

 private:
  void add_chunk(int64_t x, int64_t y, int64_t n) {
    Chunk<A> c;
    read_flow(s_, band_.b, y, x, n, c);
    if (!place(c, x, y, n)) return;
    const A(*weight)[kChunk] = c.corner;
    if (s_.factor != Factor::kOne) {
      multiply_factor(s_, band_.b, c, x, y, n);
      weight = c.weight;
    }
    const bool one = band_.weight == Weight::kLane;
    if (stage<kWidth>(s_.values, band_.b, band_.c, band_.channels, one, y * s_.W + x, n, tile_)) {
      add_tile<false>(c.corner, weight, n);
    } else {
      add_tile<true>(c.corner, weight, n);
    }
    if (band_.weight == Weight::kPlane) add_weights(weight, n);
  }

  // Cells of the corners and their bilinear weights; whether any pixel lands in the band.
  bool place(Chunk<A>& c, int64_t x, int64_t y, int64_t n) {
    const typename Lanes<F>::Int zero = {}, begin = zero + band_.begin, end = zero + band_.end;
    const int32_t rows = band_.ring_rows, turn = slot_ - first_;
    const auto cell = [&](auto row, auto column, auto used) {  // unused ones go to the row after the ring
      const auto slot = row + turn, wrapped = select(less(slot, zero + rows), slot, slot - rows);
      const auto mine = used & !less(row, begin) & less(row, end);
      return (select(mine, wrapped, zero + rows) * columns_ + column + 1);
    };
    auto lands = less(broadcast<F>(0), broadcast<F>(0));
    for (int64_t i = 0; i < n; i += kCount) {
      const Position<F> p = locate<F>(s_, c, x, y, i, n);
      F weight[4];
      corner_weights(p, weight);
      for (int k = 0; k < 4; ++k) store(c.corner[k] + i, weight[k]);
      const F nowhere = broadcast<F>(0);
      const auto row = to_int(select(p.used, p.y.at, nowhere)), column = to_int(select(p.used, p.x.at, nowhere));
      store_int(top_ + i, cell(row, column, p.used));
      store_int(bottom_ + i, cell(row + 1, column, p.used));
      lands = lands | (p.used & !less(row + 1, begin) & less(row, end));
    }
    return any(lands);
  }

  // kCareful: some value is not finite, so a corner with weight 0 must not be touched; else adding 0 does no harm, as a sum
  // that starts from +0 is never -0.
  template <bool kCareful>
  void add_tile(const A (*corner)[kChunk], const A (*weight)[kChunk], int64_t n) {
    using V = CellOf<A, kWidth>;
    constexpr int kStep = sizeof(V) / sizeof(A);
    for (int64_t i = 0; i < n; ++i) {
      A* const cells[] = {ring_ + int64_t{top_[i]} * kWidth, ring_ + int64_t{bottom_[i]} * kWidth};
      for (int k = 0; k < kWidth; k += kStep) {
        const V v = load_accumulator<V>(tile_ + i * kWidth + k);
        for (int corner_index = 0; corner_index < 4; ++corner_index) {
          if (kCareful && corner[corner_index][i] == 0) continue;
          A* const cell = cells[corner_index >> 1] + (corner_index & 1) * kWidth + k;
          store_accumulator(cell, load_accumulator<V>(cell) + v * weight[corner_index][i]);
        }
      }
    }
  }

  void add_weights(const A (*weight)[kChunk], int64_t n) {
    for (int64_t i = 0; i < n; ++i) {
      A *const top = plane_ring_ + top_[i], *const bottom = plane_ring_ + bottom_[i];
      top[0] += weight[0][i], top[1] += weight[1][i];
      bottom[0] += weight[2][i], bottom[1] += weight[3][i];
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
    Quotient<F> q[kChunk / kCount];
    const bool scaled = s_.divide != Divide::kNot && divide_by(cells, plane, pixel, n, q);
    scaled ? unstage<true>(cells, q, pixel, n) : unstage<false>(cells, q, pixel, n);
  }

  // The quotients of n target pixels; D is stored where it is new. Whether any of them is scaled.
  bool divide_by(const A* cells, const A* plane, int64_t pixel, int64_t n, Quotient<F>* q) {
    A* const weight = static_cast<A*>(s_.weight) + (s_.weight == nullptr ? 0 : band_.b * s_.target_H * s_.target_W + pixel);
    bool scaled = false;
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
      q[i / kCount] = quotient(d, s_.divide);
      scaled = scaled || any(not_equal(q[i / kCount].scale, broadcast<F>(1)));
    }
    return scaled;
  }

  template <bool kScaled>
  void unstage(const A* cells, const Quotient<F>* q, int64_t pixel, int64_t n) {
    const Planes& t = s_.target;
    const int64_t at = band_.b * t.batch + band_.c * t.channel + pixel * t.pixel;
    const auto typed = [&](auto* p) {
      const bool divides = s_.divide != Divide::kNot;
      if (t.pixel == 1) {
        unstage_planes<kWidth, kScaled>(cells, divides ? q : nullptr, p + at, t.channel, band_.channels, n);
      } else {
        unstage_pixels<kWidth, kScaled>(cells, divides ? q : nullptr, p + at, t.pixel, band_.channels, n);
      }
    };
    if constexpr (sizeof(A) == sizeof(double)) {
      if (t.type == Dtype::kFloat64) return typed(static_cast<double*>(t.data));
    }
    if (t.type == Dtype::kFloat32) return typed(static_cast<float*>(t.data));
    if (t.type == Dtype::kFloat16) return typed(static_cast<Half*>(t.data));
    typed(static_cast<BFloat16*>(t.data));
  }

  const ScatterArgs& s_;
  const ScatterBand& band_;
  const int32_t columns_;
  int32_t first_, slot_ = 0;  // the first target row that is not finished, and its place in the ring
  A *ring_, *plane_ring_;     // cells [ring_rows + 1, columns_, kWidth]; weights [ring_rows + 1, columns_]
  alignas(64) int32_t top_[kChunk], bottom_[kChunk];  // cells of the pixels' left corners
  alignas(64) A tile_[kChunk * kWidth];
};

template <class A>
void measure_row(const ScatterArgs& s, int64_t b, int64_t y, RowReach& reach) {
  using F = typename VectorFor<A>::type;
  constexpr A kInfinity = std::numeric_limits<A>::infinity();
  const F above = broadcast<F>(kInfinity), below = broadcast<F>(-kInfinity);
  F first = above, last = below, low = above, high = below;
  Chunk<A> c;
  for (int64_t x = 0; x < s.W; x += kChunk) {
    const int64_t n = min(int64_t{kChunk}, s.W - x);
    read_flow(s, b, y, x, n, c);
    for (int64_t i = 0; i < n; i += Lanes<F>::kCount) {
      const Position<F> p = locate<F>(s, c, x, y, i, n);
      first = min(first, select(p.used, p.y.at, above));
      last = max(last, select(p.used, p.y.at, below));
      if (s.factor != Factor::kExp) continue;
      const F m = load<F>(c.factor + i), lane = lane_numbers<F>() + broadcast<F>(static_cast<A>(i));
      const auto counts = is_finite(m) & is_finite(load<F>(c.x + i)) & is_finite(load<F>(c.y + i)) &
                          less(lane, broadcast<F>(static_cast<A>(n)));
      low = min(low, select(counts, m, above));
      high = max(high, select(counts, m, below));
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

void scatter_reach(const ScatterArgs& s, RowReach* reach, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    if (s.float64) {
      measure_row<double>(s, row / s.H, row % s.H, reach[row]);
    } else {
      measure_row<float>(s, row / s.H, row % s.H, reach[row]);
    }
  }
}

void scatter_band(const ScatterArgs& s, const ScatterBand& band) {
  const bool narrow = cell_width(band.channels) == kNarrowCell;
  if (s.float64) {
    narrow ? BandScatter<double, kNarrowCell>(s, band).run() : BandScatter<double, kWideCell>(s, band).run();
  } else {
    narrow ? BandScatter<float, kNarrowCell>(s, band).run() : BandScatter<float, kWideCell>(s, band).run();
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
