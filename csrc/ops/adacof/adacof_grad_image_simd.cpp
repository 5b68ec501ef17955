// The gradient of adacof's image on the CPU, compiled once per instruction set; formulas in adacof.h.
//
// Work: a scatter. The sums of a band of rows, four channels of a pixel next to each other, stay in cache. A band goes
// through the output rows and their taps in order, skips those that do not reach it (a table says so), and adds to its own
// rows only: a sum has the same order whatever the bands, and no addition is shared.
#include "cpu/scratch.h"
#include "ops/adacof/adacof_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Sums of a band, with a pixel more than the row has: pairs are added as one.
struct BandMemory {
  float *sums, *upstream;

  VFI_INLINE int64_t lay_out(const AdacofArgs& a, void* memory) {
    const AdacofBands bands(a);
    Layout layout(memory);
    sums = layout.take<float>(4 * bands.rows * a.in_W);
    upstream = layout.take<float>(4 * (int64_t{a.W} + kLanes));
    return layout.bytes();
  }
};

struct Band {
  int64_t b, group;
  int32_t first, last;  // rows
};

// upstream[x][4] = g of the band's channels in output row y, 0 for channels that do not exist.
void turn_upstream(const AdacofArgs& a, const Band& band, int32_t y, float* upstream) {
  for (int32_t x = 0; x < a.W; x += kLanes) {
    F32 planes[4] = {};
    for (int64_t k = 0; k < 4 && band.group * 4 + k < a.C; ++k) {
      const int64_t at = ((band.b * a.C + band.group * 4 + k) * a.H + y) * a.W + x;
      planes[k] = load_as(a.grad_out, a.image_type, at, a.W - x);
    }
    interleave4(planes);
    for (int k = 0; k < 4; ++k) store(upstream + 4 * x + k * kLanes, planes[k]);
  }
}

// What kLanes pixels add to, and how much: [j][lane][i] in row `row` + j and column `column` + i.
struct Shares {
  alignas(64) float weight[2][kLanes][2];
  alignas(64) int32_t row[kLanes], column[kLanes];
};

VFI_INLINE void set_pairs(F32 left, F32 right, float (&to)[kLanes][2]) {
  alignas(64) float values[2][kLanes];
  store(values[0], left), store(values[1], right);
  for (int i = 0; i < kLanes; ++i) to[i][0] = values[0][i], to[i][1] = values[1][i];
}

VFI_INLINE Shares shares_of(const TapPosition& t) {
  const F32 zero = {};
  // A weight along an axis that is 0 shall stay 0 whatever the tap's weight is.
  const auto share = [&](F32 across, F32 along) VFI_INLINE_LAMBDA {
    const F32 corner = across * along;
    return select(not_equal(corner, zero), corner * t.weight, zero);
  };
  Shares s;
  set_pairs(share(t.y.w0, t.x.w0), share(t.y.w0, t.x.w1), s.weight[0]);
  set_pairs(share(t.y.w1, t.x.w0), share(t.y.w1, t.x.w1), s.weight[1]);
  store_int(s.row, t.y.at), store_int(s.column, t.x.at);
  return s;
}

// Lanes in an order in which neighbours, which often add to one pixel, do not follow each other: an addition would wait
// for the one before.
VFI_INLINE int nth_lane(int i) { return kLanes == 16 ? i * 5 % 16 : i * 3 % kLanes; }

// Adds `count` lanes to the rows of the band.
template <bool kCareful>
VFI_INLINE void add_shares(const AdacofArgs& a, const Band& band, const Shares& s, const float* upstream, int64_t count,
                           float* sums) {
  for (int i = 0; i < kLanes; ++i) {
    const int lane = nth_lane(i);
    const Quad g = load_quad(upstream + 4 * lane);
    float* const to = sums + 4 * (int64_t{s.row[lane] - band.first} * a.in_W + s.column[lane]);
    if constexpr (!kCareful) {
      add_quads(to, g, s.weight[0][lane]);
      add_quads(to + 4 * int64_t{a.in_W}, g, s.weight[1][lane]);
      continue;
    }
    for (int k = 0; k < 4 && lane < count; ++k) {
      const int32_t row = s.row[lane] + (k >> 1);
      const float weight = s.weight[k >> 1][lane][k & 1];
      if (weight == 0.0f || row < band.first || row > band.last) continue;
      float* const at = to + 4 * ((k >> 1) * int64_t{a.in_W} + (k & 1));
      store_quad(at, fma(g, broadcast_quad(weight), load_quad(at)));
    }
  }
}

void add_row(const AdacofArgs& a, const Band& band, int32_t n, int32_t y, const BandMemory& m) {
  const I32 first = I32{} + band.first, last = I32{} + (band.last - 1);
  for (int32_t x = 0; x < a.W; x += kLanes) {
    const TapPosition t = tap_position(a, band.b, n, y, x);
    const Mask inside = !(less(t.y.at, first) | less(last, t.y.at));
    const Mask whole = not_equal((t.x.w0 * t.x.w1) * (t.y.w0 * t.y.w1), F32{});
    const int64_t count = a.W - x;
    const Shares s = shares_of(t);
    if (count >= kLanes && all(inside & whole)) {
      add_shares<false>(a, band, s, m.upstream + 4 * x, count, m.sums);
    } else {
      add_shares<true>(a, band, s, m.upstream + 4 * x, count, m.sums);
    }
  }
}

void store_band(const AdacofArgs& a, const Band& band, const float* sums) {
  const int64_t pixels = (int64_t{band.last} - band.first + 1) * a.in_W;
  for (int64_t i = 0; i < pixels; i += kLanes) {
    F32 planes[4];
    for (int k = 0; k < 4; ++k) planes[k] = load<F32>(sums + 4 * i + k * kLanes, 4 * (pixels - i) - k * kLanes);
    deinterleave4(planes);
    for (int64_t k = 0; k < 4 && band.group * 4 + k < a.C; ++k) {
      const int64_t plane = band.b * a.C + band.group * 4 + k;
      const int64_t at = (plane * a.in_H + band.first) * a.in_W + i;
      store_as(a.out, a.image_type, at, planes[k], pixels - i);
    }
  }
}

}  // namespace

void adacof_reach_rows(const AdacofArgs& a, AdacofReach* reach, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    for (int32_t n = 0; n < a.taps(); ++n) {
      I32 low = I32{} + a.in_H, high = I32{} - 1;
      for (int32_t x = 0; x < a.W; x += kLanes) {
        const TapPosition t = tap_position(a, row / a.H, n, static_cast<int32_t>(row % a.H), x);
        low = min(low, select(t.live, t.y.at, low));
        high = max(high, select(t.live, t.y.at + 1, high));
      }
      reach[row * a.taps() + n] = {lowest(low), highest(high)};
    }
  }
}

void adacof_grad_image_bands(const AdacofArgs& a, const AdacofReach* reach, int64_t begin, int64_t end) {
  const AdacofBands bands(a);
  const WithScratch<BandMemory> memory(a);
  for (int64_t i = begin; i < end; ++i) {
    const int32_t first = static_cast<int32_t>(i % bands.down * bands.rows);
    const int64_t rows = min(bands.rows, int64_t{a.in_H} - first);
    const Band band{i / (bands.groups * bands.down), i / bands.down % bands.groups, first,
                    static_cast<int32_t>(first + rows - 1)};
    std::memset(memory.sums, 0, rows * a.in_W * 4 * sizeof(float));
    for (int32_t y = 0; y < a.H; ++y) {
      const AdacofReach* row = reach + (band.b * a.H + y) * a.taps();
      bool turned = false;
      for (int32_t n = 0; n < a.taps(); ++n) {
        if (row[n].last < band.first || row[n].first > band.last) continue;
        if (!turned) turn_upstream(a, band, y, memory.upstream);
        turned = true;
        add_row(a, band, n, y, memory);
      }
    }
    store_band(a, band, memory.sums);
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
