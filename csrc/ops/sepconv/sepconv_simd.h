// The sums that the kernels of sepconv are made of, for a vector of neighbouring pixels and a few rows and channels of
// them. For *_simd.cpp only.
//
//   sums[r][c] += sum over the taps k of image[c, k] kernel[r, k]
//
// The image's vector of a tap serves all rows, the kernel's all channels: with 8 rows and 3 channels in registers 11 loads
// feed 24 multiply-adds. Which of rows, columns and kernels is what, the strides say.
#pragma once

#include <type_traits>

#include "cpu/scratch.h"
#include "simd/simd_elements.h"
#include "ops/sepconv/sepconv.h"

namespace vfi {
namespace VFI_LEVEL {

// As many sums as 32, or 16, registers hold.
constexpr int kSepconvRows = kRegisters == 32 ? 8 : 3, kSepconvChannels = 3;

template <class F>
struct SepconvTaps {
  using Scalar = typename Lanes<F>::Scalar;
  const Scalar* image;
  int64_t image_channel, image_tap;  // from one to the next
  const Scalar* kernel;
  int64_t kernel_row, kernel_tap;
  int64_t count;
};

// sums: [R][K][kCount].
template <class F, int R, int K>
void add_taps(const SepconvTaps<F>& t, typename Lanes<F>::Scalar* sums) {
  constexpr int kCount = Lanes<F>::kCount;
  F sum[R][K];  // in registers: every loop over it is unrolled
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < K; ++c) sum[r][c] = load<F>(sums + (r * K + c) * kCount);
  }
  const auto *image = t.image, *kernel = t.kernel;
  for (int64_t k = 0; k < t.count; ++k, image += t.image_tap, kernel += t.kernel_tap) {
    F v[K];
#pragma GCC unroll 4
    for (int c = 0; c < K; ++c) v[c] = load<F>(image + c * t.image_channel);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const F weight = load<F>(kernel + r * t.kernel_row);
#pragma GCC unroll 4
      for (int c = 0; c < K; ++c) sum[r][c] = fma(weight, v[c], sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int c = 0; c < K; ++c) store(sums + (r * K + c) * kCount, sum[r][c]);
  }
}

template <int N>
using Number = std::integral_constant<int, N>;

// use(Number<n>()) for an n from 1 to N.
template <int N, class Use>
VFI_INLINE void with_number(int64_t n, const Use& use) {
  if constexpr (N > 1) {
    if (n < N) return with_number<N - 1>(n, use);
  }
  use(Number<N>());
}

// add_taps for numbers of rows and channels that are known at run time.
template <class F>
void add_taps(const SepconvTaps<F>& t, int64_t rows, int64_t channels, typename Lanes<F>::Scalar* sums) {
  with_number<kSepconvChannels>(channels, [&]<int K>(Number<K>) VFI_INLINE_LAMBDA {
    with_number<kSepconvRows>(rows, [&]<int R>(Number<R>) VFI_INLINE_LAMBDA { add_taps<F, R, K>(t, sums); });
  });
}

// Channels that go together: at most kSepconvChannels, all groups as equal as can be.
VFI_INLINE int64_t group_size(int64_t channels) {
  const int64_t groups = (channels + kSepconvChannels - 1) / kSepconvChannels;
  return groups == 0 ? 1 : (channels + groups - 1) / groups;
}

// Rows lo ... hi of a block that meet row k of what is `taps` high: 0 <= k - r < taps.
struct Meeting {
  int64_t lo, hi;
  VFI_INLINE Meeting(int64_t k, int64_t rows, int64_t taps)
      : lo(max(int64_t{0}, k - taps + 1)), hi(min(rows - 1, k)) {}
  VFI_INLINE int64_t count() const { return hi - lo + 1; }
};

// One row of a plane of any type: its first element, and how many there are.
struct PlaneRow {
  const void* data;
  Dtype type;
  int64_t first, width;

  // Columns x, x + 1, ..., with 0 outside the row.
  template <class F>
  VFI_INLINE F at(int64_t x) const {
    constexpr int kCount = Lanes<F>::kCount;
    if (x >= 0 && x + kCount <= width && type == Dtype::kFloat32) {  // most are so: no mask
      return load<F>(static_cast<const float*>(data) + first + x);
    }
    if (x >= 0) return load_as<F>(data, type, first + x, width - x);
    if (x <= -kCount) return broadcast<F>(0);
    typename Lanes<F>::Scalar shifted[2 * kCount] = {};
    store(shifted + kCount, load_as<F>(data, type, first, width));
    return load<F>(shifted + kCount + x);
  }
  // `count` columns from x on; writes up to kCount - 1 more.
  template <class F>
  VFI_INLINE void copy(int64_t x, int64_t count, typename Lanes<F>::Scalar* to) const {
    for (int64_t i = 0; i < count; i += Lanes<F>::kCount) store(to + i, at<F>(x + i));
  }
  VFI_INLINE void prefetch_at(int64_t x) const {
    prefetch(static_cast<const char*>(data) + (first + x) * size_of(type));
  }
};

VFI_INLINE PlaneRow image_row(const SepconvArgs& a, int64_t b, int64_t c, int64_t y) {
  return {a.image, a.image_type, ((b * a.C + c) * a.image_H() + y) * a.image_W(), a.image_W()};
}
VFI_INLINE PlaneRow grad_out_row(const SepconvArgs& a, int64_t b, int64_t c, int64_t y) {
  return {a.grad_out, a.image_type, ((b * a.C + c) * a.H + y) * a.W, a.W};
}
VFI_INLINE PlaneRow vertical_row(const SepconvArgs& a, int64_t b, int64_t i, int64_t y) {
  return {a.vertical, a.vertical_type, ((b * a.taps_v + i) * a.H + y) * a.W, a.W};
}
VFI_INLINE PlaneRow horizontal_row(const SepconvArgs& a, int64_t b, int64_t j, int64_t y) {
  return {a.horizontal, a.horizontal_type, ((b * a.taps_h + j) * a.H + y) * a.W, a.W};
}

// `rows` rows from y on and one vector of columns from x on, of sample b.
struct SepconvBlock {
  int64_t b, y, x, rows;
};

// to[tap][row] = the weights of a block, and what lies to the right of it is asked for.
template <class F, class Row>
VFI_INLINE void copy_kernels(const SepconvBlock& block, int64_t taps, typename Lanes<F>::Scalar* to, const Row& row) {
  for (int64_t k = 0; k < taps; ++k) {
    for (int64_t r = 0; r < block.rows; ++r, to += Lanes<F>::kCount) {
      const PlaneRow from = row(k, block.y + r);
      from.prefetch_at(block.x + 2 * Lanes<F>::kCount);
      store(to, from.template at<F>(block.x));
    }
  }
}

// to[r][c] = g of `channels` channels from c on.
template <class F>
VFI_INLINE void copy_upstream(const SepconvArgs& a, const SepconvBlock& block, int64_t c, int64_t channels,
                              typename Lanes<F>::Scalar* to) {
  for (int64_t r = 0; r < block.rows; ++r) {
    for (int64_t k = 0; k < channels; ++k, to += Lanes<F>::kCount) {
      store(to, grad_out_row(a, block.b, c + k, block.y + r).at<F>(block.x));
    }
  }
}

template <class F>
VFI_INLINE void clear_sums(typename Lanes<F>::Scalar* sums, int64_t vectors) {
  for (int64_t i = 0; i < vectors; ++i) store(sums + i * Lanes<F>::kCount, broadcast<F>(0));
}

VFI_INLINE bool is_float64(const SepconvArgs& a) {
  return a.image_type == Dtype::kFloat64 || a.vertical_type == Dtype::kFloat64 ||
         a.horizontal_type == Dtype::kFloat64;
}

// run(block, memory) for the blocks of tiles begin ... end - 1 of a result of this size, `most` rows at a time.
template <class F, template <class> class Memory, class Run>
VFI_INLINE void for_each_block_of(const SepconvArgs& a, int64_t height, int64_t width, int64_t most, int64_t begin,
                                  int64_t end, const Run& run) {
  const SepconvTiles tiles(a.B, height, width);
  const WithScratch<Memory<F>> memory(a);
  for (int64_t i = begin; i < end; ++i) {
    const int64_t y0 = i / tiles.across % tiles.down * SepconvTiles::kRows, x0 = i % tiles.across * SepconvTiles::kColumns;
    const int64_t y1 = min(y0 + SepconvTiles::kRows, height), x1 = min(x0 + SepconvTiles::kColumns, width);
    for (int64_t x = x0; x < x1; x += Lanes<F>::kCount) {
      for (int64_t y = y0; y < y1; y += most) {
        run(SepconvBlock{i / (tiles.down * tiles.across), y, x, min(most, y1 - y)}, memory);
      }
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
