// The forward modulated deformable convolution on the CPU, compiled once per instruction set; formulas in
// modulated_deform_conv2d.h.
//
// Work: tiles of 112 output pixels. For every tap the columns of all channels, 112 C values, are sampled into memory that
// stays in the first two levels of the cache, pixel by pixel, as many channels at a time as a vector holds, and multiplied
// at once by that tap's weights into a tile of sums. At the end the sums get bias and activation and are written, turned
// for an output of planes.
#include "cpu/scratch.h"
#include "simd/simd_quad.h"
#include "simd/simd_activation.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Where one tap of one offset group reads, for all pixels of a tile.
template <class F>
struct TapReads {
  alignas(64) int32_t at[4][kDeformRows];
  alignas(64) typename Lanes<F>::Scalar weight[4][kDeformRows];  // with the mask
  int64_t far[kDeformTile];                                       // pixels that read outside the window
  int64_t far_count;
};

template <class F>
void find_reads(const DeformArgs& a, const DeformTile& tile, int64_t q, int32_t u, int32_t v, TapReads<F>& r) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const F zero = broadcast<F>(0), one = broadcast<F>(1);
  r.far_count = 0;
  for_each_place<F, false>(a, tile, q, u, v, [&](int64_t i, const DeformPlace<F>& place, F factor) VFI_INLINE_LAMBDA {
    for (int k = 0; k < 4; ++k) {
      store_int(r.at[k] + i, place.at[k]);
      store(r.weight[k] + i, select(equal(place.weight[k], zero), zero, place.weight[k] * factor));
    }
    if (!any(place.far)) return;
    alignas(64) typename Lanes<F>::Scalar flags[kCount];
    store(flags, select(place.far, one, zero));
    for (int64_t lane = 0; lane < min(kCount, tile.count - i); ++lane) {
      if (flags[lane] != 0) r.far[r.far_count++] = i + lane;
    }
  });
}

// Columns are multiplied as they are, or as pairs of bfloat16.
template <class F, class T>
bool uses_pairs(const DeformArgs& a) {
  return std::same_as<T, BFloat16> && std::same_as<F, F32> && a.g.group_in() % 2 == 0 && has_pair_products();
}

// sample() for 4, 8, .. channels, at most half a vector: whole short loads and stores cost less than masked long ones.
template <class T, class Column>
void sample_quads(const TapReads<F32>& r, int64_t count, const T* window, const T* zeros, int64_t C, const DeformSegment& s,
                  Column* column, int64_t row) {
  for (int64_t i = 0; i < count; ++i, column += row) {
    const T* p[4];
    for (int k = 0; k < 4; ++k) p[k] = r.at[k][i] < 0 ? zeros : window + int64_t{r.at[k][i]} * C + s.first;
    for (int64_t c = 0; c < s.count; c += 4) {
      Quad sum = r.weight[0][i] * load_quad(p[0] + c);
      for (int k = 1; k < 4; ++k) sum = fma(broadcast_quad(r.weight[k][i]), load_quad(p[k] + c), sum);
      store_quad(column + c, sum);
    }
  }
}

// The columns of one segment: count pixels, a row of `row` values each.
template <class F, class T, class Column>
void sample(const TapReads<F>& r, int64_t count, const T* window, const T* zeros, int64_t C, const DeformSegment& s,
            Column* column, int64_t row) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  if constexpr (std::same_as<F, F32>) {
    if (s.count <= kCount / 2 && s.count % 4 == 0) return sample_quads(r, count, window, zeros, C, s, column, row);
  }
  for (int64_t i = 0; i < count; ++i, column += row) {
    const T* p[4];
    F w[4];
    for (int k = 0; k < 4; ++k) {
      const int64_t at = r.at[k][i];
      p[k] = at < 0 ? zeros : window + at * C + s.first;
      w[k] = broadcast<F>(r.weight[k][i]);
    }
    const auto put_channels = [&](int64_t c, int64_t n) VFI_INLINE_LAMBDA {
      F sum = w[0] * load<F>(p[0] + c, n);
      for (int k = 1; k < 4; ++k) sum = fma(w[k], load<F>(p[k] + c, n), sum);
      store(column + c, sum, n);
    };
    int64_t c = 0;
    for (; c + kCount <= s.count; c += kCount) put_channels(c, kCount);
    if (c < s.count) put_channels(c, s.count - c);
  }
}

// A pixel that reads outside the window: from the planes, one channel after another.
template <class A, class T, class Column>
void sample_far(const DeformArgs& a, const DeformTile& tile, int64_t q, int32_t u, int32_t v, int64_t i,
                const DeformSegment& s, Column* column) {
  const DeformGeometry& g = a.g;
  const int64_t pixels = g.pixels(), tap = (tile.b * g.offset_groups + q) * g.taps() + u * g.KW + v, p = tile.first + i;
  const A move_y = read_as<A>(a.offset, a.offset_type, 2 * tap * pixels + p);
  const A move_x = read_as<A>(a.offset, a.offset_type, (2 * tap + 1) * pixels + p);
  const A factor = a.mask == nullptr ? A(1) : read_as<A>(a.mask, a.mask_type, tap * pixels + p);
  const Axis<A> y = zeros_axis(move_y, tile.start_y[i] + u * g.dilation_y, g.H);
  const Axis<A> x = zeros_axis(move_x, tile.start_x[i] + v * g.dilation_x, g.W);
  const int64_t plane = int64_t{g.H} * g.W;
  const T* image = static_cast<const T*>(a.input) + (tile.b * g.C + s.first) * plane;
  for (int64_t c = 0; c < s.count; ++c, image += plane) {
    A sum = 0;
    for_each_corner(x, y, [&](int j, int k, A w) {
      sum += w * factor * static_cast<A>(to_float(image[(int64_t{y.at} + j) * g.W + x.at + k]));
    });
    column[c] = Element<Column>::from(sum);
  }
}

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

// Of one thread, for a tile.
template <class F, class T, class Column>
struct DeformMemory {
  Column* columns;                    // [kDeformRows, C]
  typename Lanes<F>::Scalar* sums;    // [kDeformRows, output channels, each group's padded]
  T* zeros;                           // the pixel that is read where there is none: [C]

  int64_t lay_out(const DeformGeometry& g, void* memory) {
    Layout layout(memory);
    columns = layout.take<Column>(kDeformRows * g.C);
    sums = layout.take<typename Lanes<F>::Scalar>(kDeformRows * g.groups * padded_columns<F>(g.group_out()));
    zeros = layout.take<T>(g.C);
    return layout.bytes();
  }
};

template <class F, class T, class Column>
void forward_tile(const DeformArgs& a, const DeformTile& tile, TapReads<F>& reads,
                  const DeformMemory<F, T, Column>& memory) {
  using Scalar = typename Lanes<F>::Scalar;
  Column* const columns = memory.columns;
  Scalar* const sums = memory.sums;
  const DeformGeometry& g = a.g;
  const int64_t group_row = padded_columns<F>(g.group_out()), row = g.groups * group_row, group_in = g.group_in();
  const int64_t sample_at = a.direct ? tile.b * g.H * g.W * g.C : 0;
  std::memset(sums, 0, kDeformRows * row * sizeof(Scalar));
  const Column* packed = static_cast<const Column*>(a.packed);
  for (int32_t u = 0; u < g.KH; ++u) {
    for (int32_t v = 0; v < g.KW; ++v) {
      int64_t group_of_reads = -1;
      for_each_segment(g, 0, g.C, [&](const DeformSegment& s) {
        const int64_t q = s.first / g.offset_group_channels();
        if (q != group_of_reads) find_reads(a, tile, q, u, v, reads);
        group_of_reads = q;
        Column* const column = columns + s.first;
        sample(reads, tile.count, static_cast<const T*>(a.window) + sample_at, memory.zeros, g.C, s, column, g.C);
        for (int64_t k = 0; k < reads.far_count; ++k) {
          sample_far<Scalar, T>(a, tile, q, u, v, reads.far[k], s, column + reads.far[k] * g.C);
        }
      });
      for (int64_t group = 0; group < g.groups; ++group) {
        const Column* const factors = columns + group * group_in;
        Scalar* const to = sums + group * group_row;
        if constexpr (std::same_as<Column, Scalar>) {
          multiply_add<F>(factors, g.C, 1, tile.count, packed, 0, group_in, g.group_out(), to, row);
        } else {
          multiply_add_pairs(factors, g.C, tile.count, packed, group_in, g.group_out(), to, row);
        }
        packed += group_in * group_row;
      }
    }
  }
  write_tile<F, T>(a, tile, sums, row);
}

template <class F, class T, class Column>
void forward_tiles(const DeformArgs& a, int64_t begin, int64_t end) {
  const WithScratch<DeformMemory<F, T, Column>> memory(a.g);
  std::memset(memory.columns, 0, kDeformRows * a.g.C * sizeof(Column));  // rows past the last pixel are multiplied too
  std::memset(memory.zeros, 0, a.g.C * sizeof(T));
  TapReads<F> reads;
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

void deform_pack_weights(const DeformArgs& a, int64_t begin, int64_t end) {
  with_deform_types(a, [&]<class T, class F>(T, F) {
    for (int64_t tap = begin; tap < end; ++tap) {
      if (uses_pairs<F, T>(a)) pack_tap<F, T, BFloat16>(a, tap);
      if (!uses_pairs<F, T>(a)) pack_tap<F, T, typename Lanes<F>::Scalar>(a, tap);
    }
  });
}

void deform_forward_tiles(const DeformArgs& a, int64_t begin, int64_t end) {
  with_deform_types(a, [&]<class T, class F>(T, F) {
    if constexpr (std::same_as<T, BFloat16> && std::same_as<F, F32>) {
      if (uses_pairs<F, T>(a)) return forward_tiles<F, T, BFloat16>(a, begin, end);
    }
    forward_tiles<F, T, typename Lanes<F>::Scalar>(a, begin, end);
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
