// The forward modulated deformable convolution on the CPU, compiled once per instruction set; formulas in
// modulated_deform_conv2d.h.
//
// Work: tiles of 112 output pixels. For every tap the columns of all channels, 112 C values, are sampled into memory that
// stays in the first two levels of the cache, pixel by pixel, as many channels at a time as a vector holds, and multiplied
// at once by that tap's weights into a tile of sums. At the end the sums get bias and activation and are written, turned
// for an output of planes.
#include "cpu/scratch.h"
#include "simd/simd_activation.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_columns.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Bias and activation of one vector of output channels.
template <class F, class T>
struct RowFinish {
  F bias, slope;
  Activation activation;

  VFI_INLINE RowFinish(const DeformArgs& a, int64_t channel, int64_t n) : activation(a.activation) {
    bias = slope = broadcast<F>(0);
    if (a.bias != nullptr) bias = load<F>(static_cast<const T*>(a.bias) + channel, n);
    if (activation != Activation::kPrelu) return;
    const T* const slopes = static_cast<const T*>(a.slopes);
    if (a.one_slope) slope = broadcast<F>(static_cast<typename Lanes<F>::Scalar>(to_float(slopes[0])));
    if (!a.one_slope) slope = load<F>(slopes + channel, n);
  }
  VFI_INLINE F operator()(F sum) const {
    return activate(activation, sum + bias, slope);
  }
};

// The sums of a tile, `row` values for each pixel, to the output.
template <class F, class T>
void write_tile(const DeformArgs& a, const DeformTile& tile, const typename Lanes<F>::Scalar* sums, int64_t row) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const DeformGeometry& g = a.g;
  const int64_t pixels = g.pixels(), group_row = padded_columns<F>(g.group_out());
  T* const out = static_cast<T*>(a.out) + tile.b * g.C_out * pixels;
  for (int64_t group = 0; group < g.groups; ++group) {
    for (int64_t o = 0; o < g.group_out(); o += kCount) {
      const int64_t channel = group * g.group_out() + o, n = min(kCount, g.group_out() - o);
      const RowFinish<F, T> finish(a, channel, n);
      const auto* from = sums + group * group_row + o;
      for (int64_t i = 0; i < tile.count; i += kCount) {
        F rows[kCount];
        for (int64_t k = 0; k < kCount; ++k) rows[k] = finish(load<F>(from + (i + k) * row));
        const int64_t here = min(kCount, tile.count - i);
        if (a.out_channels_last) {
          for (int64_t k = 0; k < here; ++k) store(out + (tile.first + i + k) * g.C_out + channel, rows[k], n);
          continue;
        }
        transpose(rows);
        for (int64_t k = 0; k < n; ++k) store(out + (channel + k) * pixels + tile.first + i, rows[k], here);
      }
    }
  }
}

// Taps that are sampled before they are multiplied: a product of pairs of many is quicker, if the columns stay in the second
// level of the cache.
template <class Column>
int64_t taps_together(const DeformGeometry& g) {
  constexpr int64_t kBytes = int64_t{256} << 10;
  if constexpr (!HalfPrecision<Column>) return 1;
  return max(int64_t{1}, min(int64_t{g.taps()}, kBytes / (kDeformRows * g.C * int64_t{sizeof(Column)})));
}

// Of one thread, for a tile.
template <class F, class T, class Column>
struct DeformMemory {
  Column* columns;                    // [taps_together, kDeformRows, C]
  typename Lanes<F>::Scalar* sums;    // [kDeformRows, output channels, each group's padded]
  T* zeros;                           // the pixel that is read where there is none: [C]

  int64_t lay_out(const DeformGeometry& g, void* memory) {
    Layout layout(memory);
    columns = layout.take<Column>(taps_together<Column>(g) * kDeformRows * g.C);
    sums = layout.take<typename Lanes<F>::Scalar>(kDeformRows * g.groups * padded_columns<F>(g.group_out()));
    zeros = layout.take<T>(g.C);
    return layout.bytes();
  }
};

// The columns of one tap: [kDeformRows, C].
template <class F, class T, class Column>
void sample_tap(const DeformArgs& a, const DeformTile& tile, int64_t tap, TapReads<F, T>& reads, const T* zeros,
                Column* columns) {
  const DeformGeometry& g = a.g;
  const T* const window = static_cast<const T*>(a.window) + (a.direct ? tile.b * g.H * g.W * g.C : 0);
  const int32_t u = static_cast<int32_t>(tap / g.KW), v = static_cast<int32_t>(tap % g.KW);
  int64_t group_of_reads = -1;
  for_each_segment(g, 0, g.C, [&](const DeformSegment& s) {
    const int64_t q = s.first / g.offset_group_channels();
    if (q != group_of_reads) find_reads(a, tile, q, u, v, window, zeros, reads);
    group_of_reads = q;
    Column* const column = columns + s.first;
    sample(reads, tile.count, s, column, g.C);
    for (int64_t k = 0; k < reads.far_count; ++k) {
      sample_far<typename Lanes<F>::Scalar, T>(a, tile, q, u, v, reads.far[k], s, column + reads.far[k] * g.C);
    }
  });
}

template <class F, class T, class Column>
void forward_tile(const DeformArgs& a, const DeformTile& tile, TapReads<F, T>& reads,
                  const DeformMemory<F, T, Column>& memory) {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar* const sums = memory.sums;
  const DeformGeometry& g = a.g;
  const int64_t group_row = padded_columns<F>(g.group_out()), row = g.groups * group_row, group_in = g.group_in();
  const int64_t taps = g.taps(), together = taps_together<Column>(g);
  std::memset(sums, 0, kDeformRows * row * sizeof(Scalar));
  for (int64_t tap = 0; tap < taps; tap += together) {
    const int64_t parts = min(together, taps - tap);
    for (int64_t n = 0; n < parts; ++n) {
      sample_tap(a, tile, tap + n, reads, memory.zeros, memory.columns + n * kDeformRows * g.C);
    }
    const Column* packed = static_cast<const Column*>(a.packed) + tap * group_in * row;
    for (int64_t group = 0; group < g.groups; ++group, packed += group_in * group_row) {
      const Column* const factors = memory.columns + group * group_in;
      Scalar* const to = sums + group * group_row;
      if constexpr (std::same_as<Column, Scalar>) {
        multiply_add<F>(factors, g.C, 1, tile.count, packed, 0, group_in, g.group_out(), to, row);
      } else if constexpr (kHasPairs) {
        const PairFactors<Column> pairs = {factors, g.C, kDeformRows * g.C, packed, 0, group_in * row, parts, group_in};
        multiply_add_pairs(pairs, tile.count, g.group_out(), to, row);
      }
    }
  }
  write_tile<F, T>(a, tile, sums, row);
}

template <class F, class T, class Column>
void forward_tiles(const DeformArgs& a, int64_t begin, int64_t end) {
  const WithScratch<DeformMemory<F, T, Column>> memory(a.g);
  // Rows past the last pixel are multiplied too.
  std::memset(memory.columns, 0, taps_together<Column>(a.g) * kDeformRows * a.g.C * sizeof(Column));
  std::memset(memory.zeros, 0, a.g.C * sizeof(T));
  const TileScope tiles_of_this_thread(HalfPrecision<Column>);
  TapReads<F, T> reads;
  const int64_t tiles = deform_tiles(a.g);
  for (int64_t i = begin; i < end; ++i) {
    forward_tile<F, T, Column>(a, a.direct ? DeformTile(a.g, i / tiles, i % tiles) : DeformTile(a.g, a.b, i), reads, memory);
  }
}

// The weights [o][c][tap] of one tap, group after group.
template <class F, class T, class Column>
void pack_tap(const DeformArgs& a, int64_t tap) {
  const DeformGeometry& g = a.g;
  const int64_t taps = g.taps(), step = g.group_in() * taps, size = g.group_in() * padded_columns<F>(g.group_out());
  for (int64_t group = 0; group < g.groups; ++group) {
    const T* const weight = static_cast<const T*>(a.weight) + group * g.group_out() * step + tap;
    Column* const to = static_cast<Column*>(a.packed) + (tap * g.groups + group) * size;
    pack_factor<F>(g.group_in(), g.group_out(), to, [&](int64_t c, int64_t o) { return weight[o * step + c * taps]; });
  }
}

}  // namespace

void deform_window_rows(const DeformArgs& a, int64_t begin, int64_t end) {
  const DeformGeometry& g = a.g;
  const int64_t plane = int64_t{g.H} * g.W;
  with_deform_types(a, [&]<class T, class F>(T, F) {
    const T* const planes = static_cast<const T*>(a.input) + a.b * g.C * plane;
    T* const window = static_cast<T*>(const_cast<void*>(a.window));
    for (int64_t y = begin; y < end; ++y) {
      copy_pixels<false>(planes + (a.window_first + y) * g.W, {1, plane}, window + y * g.W * g.C, {g.C, 1}, g.W, g.C);
    }
  });
}

// Calls run(T(), F(), Column()): what an element of the input, the arithmetic and a column is.
template <class Run>
VFI_INLINE void with_columns(const DeformArgs& a, const Run& run) {
  with_deform_types(a, [&]<class T, class F>(T, F) {
    if constexpr (kHasPairs && HalfPrecision<T>) {
      if (!a.float64 && uses_pairs<T>(a.g.group_in())) return run(T(), F(), T());
    }
    run(T(), F(), typename Lanes<F>::Scalar());
  });
}

void deform_pack_weights(const DeformArgs& a, int64_t begin, int64_t end) {
  with_columns(a, [&]<class T, class F, class Column>(T, F, Column) {
    for (int64_t tap = begin; tap < end; ++tap) pack_tap<F, T, Column>(a, tap);
  });
}

void deform_forward_tiles(const DeformArgs& a, int64_t begin, int64_t end) {
  with_columns(a, [&]<class T, class F, class Column>(T, F, Column) { forward_tiles<F, T, Column>(a, begin, end); });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
