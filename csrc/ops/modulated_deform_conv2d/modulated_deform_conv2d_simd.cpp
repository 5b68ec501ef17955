// The forward modulated deformable convolution on the CPU, compiled once per instruction set; formulas in
// modulated_deform_conv2d.h.
//
// Work: tiles of 112 output pixels. For every tap the columns of all channels, 112 C values, are sampled into memory that
// stays in the first two levels of the cache, pixel by pixel, as many channels at a time as a vector holds, and multiplied
// at once by that tap's weights into a tile of sums. At the end the sums get bias and activation and are written, turned
// for an output of planes.
#include "cpu/scratch.h"
#include "simd/simd_activation.h"
#include "simd/simd_short.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Where one tap of one offset group reads, for all pixels of a tile.
template <class F, class T>
struct TapReads {
  alignas(64) const T* from[4][kDeformRows];                      // the pixels' first channels
  alignas(64) typename Lanes<F>::Scalar weight[4][kDeformRows];  // with the mask
  int64_t far[kDeformTile];                                       // pixels that read outside the window
  int64_t far_count;
};

template <class F, class T>
void find_reads(const DeformArgs& a, const DeformTile& tile, int64_t q, int32_t u, int32_t v, const T* window,
                const T* zeros, TapReads<F, T>& r) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const F zero = broadcast<F>(0), one = broadcast<F>(1);
  r.far_count = 0;
  for_each_place<F, false>(a, tile, q, u, v, [&](int64_t i, const DeformPlace<F>& place, F factor) VFI_INLINE_LAMBDA {
    const int64_t C = a.g.C;
    if (place.whole) {
      for (int k = 0; k < 4; ++k) {
        store_addresses<F>(r.from[k] + i, window + (k / 2 * a.g.W + k % 2) * C, C, place.at[0]);
        store(r.weight[k] + i, place.weight[k] * factor);
      }
      return;
    }
    for (int k = 0; k < 4; ++k) {
      const auto used = not_equal(place.weight[k], zero);
      store(r.weight[k] + i, select(used, place.weight[k] * factor, zero));
      store_addresses<F>(r.from[k] + i, window, C, place.at[k]);
      if (all(used)) continue;
      alignas(64) int32_t at[kCount];
      store_int(at, place.at[k]);
      for (int64_t lane = 0; lane < kCount; ++lane) {
        if (at[lane] < 0) r.from[k][i + lane] = zeros;
      }
    }
    if (!any(place.far)) return;
    alignas(64) typename Lanes<F>::Scalar flags[kCount];
    store(flags, select(place.far, one, zero));
    for (int64_t lane = 0; lane < min(kCount, tile.count - i); ++lane) {
      if (flags[lane] != 0) r.far[r.far_count++] = i + lane;
    }
  });
}

// The columns of one segment: count pixels, a row of `row` values each. As many channels at a time as V has lanes; the last
// ones masked, if kMasked.
template <class V, bool kMasked, class F, class T, class Column>
VFI_INLINE void sample_vectors(const TapReads<F, T>& r, int64_t count, const DeformSegment& s, Column* column, int64_t row) {
  constexpr int64_t kCount = kShortLanes<V>;
  for (int64_t i = 0; i < count; ++i, column += row) {
    const T* p[4];
    V w[4];
    for (int k = 0; k < 4; ++k) p[k] = r.from[k][i] + s.first, w[k] = broadcast_short<V>(r.weight[k][i]);
    int64_t c = 0;
    for (; c + kCount <= s.count; c += kCount) {
      V sum = w[0] * load_short<V>(p[0] + c);
      for (int k = 1; k < 4; ++k) sum = fma(w[k], load_short<V>(p[k] + c), sum);
      store_short(column + c, sum);
    }
    if constexpr (kMasked) {
      const int64_t n = s.count - c;
      V sum = w[0] * load<V>(p[0] + c, n);
      for (int k = 1; k < 4; ++k) sum = fma(w[k], load<V>(p[k] + c, n), sum);
      store(column + c, sum, n);
    }
  }
}

template <class F, class T, class Column>
void sample(const TapReads<F, T>& r, int64_t count, const DeformSegment& s, Column* column, int64_t row) {
  if (s.count % Lanes<F>::kCount == 0) return sample_vectors<F, false>(r, count, s, column, row);
  if constexpr (std::same_as<F, F32>) {
    if constexpr (kLanes > 8) {
      if (s.count % 8 == 0) return sample_vectors<Oct, false>(r, count, s, column, row);
    }
    if (s.count < kLanes && s.count % 4 == 0) return sample_vectors<Quad, false>(r, count, s, column, row);
  }
  sample_vectors<F, true>(r, count, s, column, row);
}

#if defined(__AVX512F__)
// The same by the conversions of AVX512-BF16. A vector of 32 channels is two of floats: even ones and odd ones.
template <bool kPlain>  // whole vectors only
VFI_BF16_TARGET void sample_bfloat16(const TapReads<F32, BFloat16>& r, int64_t count, const DeformSegment& s,
                                     BFloat16* column, int64_t row) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                      8,  24, 9,  25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i order = _mm512_load_si512(kOrder), odd_bits = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  for (int64_t i = 0; i < count; ++i, column += row) {
    const BFloat16* p[4];
    F32 w[4];
    for (int k = 0; k < 4; ++k) p[k] = r.from[k][i] + s.first, w[k] = broadcast<F32>(r.weight[k][i]);
    int64_t c = 0;
    for (; c + 32 <= s.count; c += 32) {
      F32 even = {}, odd = {};
      for (int k = 0; k < 4; ++k) {
        const __m512i both = _mm512_loadu_si512(p[k] + c);
        const F32 a = (F32)_mm512_slli_epi32(both, 16), b = (F32)_mm512_and_si512(both, odd_bits);
        even = k == 0 ? w[0] * a : fma(w[k], a, even), odd = k == 0 ? w[0] * b : fma(w[k], b, odd);
      }
      const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(odd, even);
      _mm512_storeu_si512(column + c, _mm512_permutexvar_epi16(order, halves));
    }
    if constexpr (kPlain) continue;
    for (; c < s.count; c += kLanes) {
      const int64_t n = s.count - c;
      F32 sum = w[0] * load<F32>(p[0] + c, n);
      for (int k = 1; k < 4; ++k) sum = fma(w[k], load<F32>(p[k] + c, n), sum);
      store_halves(column + c, (__m256i)_mm512_cvtneps_pbh(sum), n);
    }
  }
}

VFI_BF16_TARGET void sample_bfloat16_octs(const TapReads<F32, BFloat16>& r, int64_t count, const DeformSegment& s,
                                          BFloat16* column, int64_t row) {
  for (int64_t c = 0; c < s.count; c += 8) {
    const int64_t first = s.first + c;
    BFloat16* to = column + c;
    for (int64_t i = 0; i < count; ++i, to += row) {
      Oct sum = broadcast_short<Oct>(r.weight[0][i]) * load_oct(r.from[0][i] + first);
      for (int k = 1; k < 4; ++k) sum = fma(broadcast_short<Oct>(r.weight[k][i]), load_oct(r.from[k][i] + first), sum);
      _mm_storeu_si128((__m128i*)to, (__m128i)_mm256_cvtneps_pbh(sum));
    }
  }
}

void sample(const TapReads<F32, BFloat16>& r, int64_t count, const DeformSegment& s, BFloat16* column, int64_t row) {
  if (!__builtin_cpu_supports("avx512bf16")) return sample<F32, BFloat16, BFloat16>(r, count, s, column, row);
  if (s.count % 32 == 0) return sample_bfloat16<true>(r, count, s, column, row);
  if (s.count % 16 == 8) return sample_bfloat16_octs(r, count, s, column, row);
  sample_bfloat16<false>(r, count, s, column, row);
}
#endif

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
#if defined(__AVX512F__)
  const TileScope tiles_of_this_thread;
#endif
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
