// The columns of the forward modulated deformable convolution: what one tap reads for all pixels of a tile. For *_simd.cpp
// only.
#pragma once

#include "simd/simd_short.h"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {

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
    const bool none_is_far = !any(place.far);
    for (int k = 0; k < 4; ++k) {
      const auto used = not_equal(place.weight[k], zero);
      store(r.weight[k] + i, select(used, place.weight[k] * factor, zero));
      store_addresses<F>(r.from[k] + i, window, C, place.at[k]);
      if (none_is_far && all(used)) continue;  // a far one is used, but has no number
      alignas(64) int32_t at[kCount];
      store_int(at, place.at[k]);
      for (int64_t lane = 0; lane < kCount; ++lane) {
        if (at[lane] < 0) r.from[k][i + lane] = zeros;
      }
    }
    if (none_is_far) return;
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

#if defined(VFI_PAIRS_HEADER)
// The same by the CPU's own rounding. A vector of 2 kLanes channels is two of floats: even ones and odd ones.
template <bool kPlain>  // whole vectors only
VFI_BF16_TARGET void sample_bfloat16(const TapReads<F32, BFloat16>& r, int64_t count, const DeformSegment& s,
                                     BFloat16* column, int64_t row) {
  for (int64_t i = 0; i < count; ++i, column += row) {
    const BFloat16* p[4];
    F32 w[4];
    for (int k = 0; k < 4; ++k) p[k] = r.from[k][i] + s.first, w[k] = broadcast<F32>(r.weight[k][i]);
    int64_t c = 0;
    for (; c + 2 * kLanes <= s.count; c += 2 * kLanes) {
      F32 even = {}, odd = {};
      for (int k = 0; k < 4; ++k) {
        F32 a, b;
        load_apart(p[k] + c, a, b);
        even = k == 0 ? w[0] * a : fma(w[k], a, even), odd = k == 0 ? w[0] * b : fma(w[k], b, odd);
      }
      store_together(column + c, even, odd);
    }
    if constexpr (kPlain) continue;
    for (; c < s.count; c += kLanes) {
      const int64_t n = s.count - c;
      F32 sum = w[0] * load<F32>(p[0] + c, n);
      for (int k = 1; k < 4; ++k) sum = fma(w[k], load<F32>(p[k] + c, n), sum);
      store_rounded(column + c, sum, n);
    }
  }
}

#if defined(__AVX512F__)
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
#endif

void sample(const TapReads<F32, BFloat16>& r, int64_t count, const DeformSegment& s, BFloat16* column, int64_t row) {
  if (!rounds_bfloat16()) return sample<F32, BFloat16, BFloat16>(r, count, s, column, row);
  if (s.count % (2 * kLanes) == 0) return sample_bfloat16<true>(r, count, s, column, row);
#if defined(__AVX512F__)
  if (s.count % 16 == 8) return sample_bfloat16_octs(r, count, s, column, row);
#endif
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

}  // namespace VFI_LEVEL
}  // namespace vfi
