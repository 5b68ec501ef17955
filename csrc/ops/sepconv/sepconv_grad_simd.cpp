// The gradients of sepconv for the rows of weights and the image on the CPU, compiled once per instruction set; formulas in
// sepconv.h.
//
// Work: as forward, by blocks of rows and a vector of pixels. For the rows of weights, all rows of the image that a block
// reads are copied once, and the taps of a column are summed for one j after another. For the image, a block is of its
// pixels: of one row of g and H after another, the products g H are written out, shifted by j, and serve every row of the
// block, each with the V of its tap. What is outside a plane is 0 in all factors. Every sum has a fixed order.
#include "ops/sepconv/sepconv_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

constexpr int64_t kShortBlock = (kSepconvRows + 1) / 2;  // rows: at the ends of columns some of them have no tap

template <class F>
struct SepconvGradMemory {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar *windows, *vertical, *horizontal, *products, *sums, *totals, *upstream;

  VFI_INLINE int64_t lay_out(const SepconvArgs& a, void* memory) {
    constexpr int64_t kCount = Lanes<F>::kCount, kSums = kSepconvRows * kSepconvChannels * kCount;
    const int64_t rows = max(a.taps_v, int64_t{1}) + kSepconvRows;
    Layout layout(memory);
    windows = layout.take<Scalar>(max(rows, int64_t{2}) * kSepconvChannels * width(a));
    vertical = layout.take<Scalar>(max(rows * kSepconvRows * kCount, kSepconvRows * width(a)));
    horizontal = layout.take<Scalar>((a.taps_v + SepconvTiles::kRows) * a.taps_h * kCount);
    products = layout.take<Scalar>(a.taps_h * kSepconvChannels * kCount);
    sums = layout.take<Scalar>(kSums);
    totals = layout.take<Scalar>(a.taps_h * kSepconvRows * kCount);
    upstream = layout.take<Scalar>(kSums);
    return layout.bytes();
  }
  // Of one channel in a window.
  static VFI_INLINE int64_t width(const SepconvArgs& a) { return a.taps_h + 2 * Lanes<F>::kCount; }
};

// sums[r][c] = sum over i of V_i image[c, y + r + i, x + j]. m.vertical[k][r] is the weight of row k of the windows for
// row r of the block.
template <class F>
void sum_columns(const SepconvArgs& a, const SepconvBlock& block, const SepconvGradMemory<F>& m, int64_t j,
                 int64_t channels) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t width = SepconvGradMemory<F>::width(a);
  clear_sums<F>(m.sums, block.rows * channels);
  for (int64_t k = 0, taps; k < block.rows + a.taps_v - 1; k += taps) {
    const Meeting rows(k, block.rows, a.taps_v);
    const bool all = rows.count() == block.rows;  // and so are all until the first row has no further tap
    taps = all ? a.taps_v - k : 1;
    const SepconvTaps<F> t{m.windows + k * channels * width + j, width, channels * width,
                           m.vertical + (k * block.rows + rows.lo) * kCount, kCount, block.rows * kCount, taps};
    add_taps<F>(t, rows.count(), channels, m.sums + rows.lo * channels * kCount);
  }
}

template <class F>
void grad_horizontal_block(const SepconvArgs& a, const SepconvBlock& block, const SepconvGradMemory<F>& m) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t width = SepconvGradMemory<F>::width(a), group = group_size(a.C), high = block.rows + a.taps_v - 1;
  for (int64_t k = 0; k < high; ++k) {
    const Meeting rows(k, block.rows, a.taps_v);
    for (int64_t r = rows.lo; r <= rows.hi; ++r) {
      const PlaneRow from = vertical_row(a, block.b, k - r, block.y + r);
      from.prefetch_at(block.x + 2 * kCount);
      store(m.vertical + (k * block.rows + r) * kCount, from.at<F>(block.x));
    }
  }
  clear_sums<F>(m.totals, a.taps_h * block.rows);
  for (int64_t c = 0; c < a.C; c += group) {
    const int64_t channels = min(group, a.C - c);
    copy_upstream<F>(a, block, c, channels, m.upstream);
    for (int64_t k = 0; k < high * channels; ++k) {
      image_row(a, block.b, c + k % channels, block.y + k / channels)
          .copy<F>(block.x, kCount + a.taps_h - 1, m.windows + k * width);
    }
    for (int64_t j = 0; j < a.taps_h; ++j) {
      sum_columns<F>(a, block, m, j, channels);
      for (int64_t r = 0; r < block.rows; ++r) {
        auto* const at = m.totals + (j * block.rows + r) * kCount;
        F total = load<F>(at);
        for (int64_t n = r * channels * kCount; n < (r + 1) * channels * kCount; n += kCount) {
          total = fma(load<F>(m.upstream + n), load<F>(m.sums + n), total);
        }
        store(at, total);
      }
    }
  }
  for (int64_t k = 0; k < a.taps_h * block.rows; ++k) {
    const int64_t j = k / block.rows, y = block.y + k % block.rows;
    const int64_t to = ((block.b * a.taps_h + j) * a.H + y) * a.W + block.x;
    store_as(a.out, a.horizontal_type, to, load<F>(m.totals + k * kCount), a.W - block.x);
  }
}

// The first output row that the tile of this block of the image has to do with.
VFI_INLINE int64_t first_row_of_tile(const SepconvArgs& a, const SepconvBlock& block) {
  return max(int64_t{0}, block.y / SepconvTiles::kRows * SepconvTiles::kRows - a.taps_v + 1);
}

// m.horizontal[y][j] = H_j[y, x - j] of all rows that the tile has to do with, for all blocks of it at x: planes lie so that
// the taps of a pixel would push each other out of the cache.
template <class F>
void copy_tile_of_horizontal(const SepconvArgs& a, const SepconvBlock& block, const SepconvGradMemory<F>& m) {
  const int64_t first = first_row_of_tile(a, block), end = min(a.H, block.y + SepconvTiles::kRows);
  for (int64_t j = 0; j < a.taps_h; ++j) {
    for (int64_t y = first; y < end; ++y) {
      store(m.horizontal + ((y - first) * a.taps_h + j) * Lanes<F>::kCount,
            horizontal_row(a, block.b, j, y).at<F>(block.x - j));
    }
  }
}

// m.products[j][c] = (g H_j)[y, x - j] of `channels` channels from c on, and m.vertical[r] = the weights V of row y for row
// r of the block, from column x - taps_h + 1 on.
template <class F>
void copy_factors(const SepconvArgs& a, const SepconvBlock& block, const SepconvGradMemory<F>& m, int64_t y,
                  const Meeting& rows, int64_t c, int64_t channels) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t width = SepconvGradMemory<F>::width(a), first = block.x - a.taps_h + 1, count = kCount + a.taps_h - 1;
  for (int64_t n = 0; n < channels; ++n) {
    grad_out_row(a, block.b, c + n, y).copy<F>(first, count, m.windows + n * width);
  }
  for (int64_t r = rows.lo; r <= rows.hi; ++r) {
    vertical_row(a, block.b, block.y + r - y, y).copy<F>(first, count, m.vertical + r * width);
  }
  const auto* const weights = m.horizontal + (y - first_row_of_tile(a, block)) * a.taps_h * kCount;
  for (int64_t j = 0; j < a.taps_h; ++j) {
    const F weight = load<F>(weights + j * kCount);
    for (int64_t n = 0; n < channels; ++n) {
      const F g = load<F>(m.windows + n * width + a.taps_h - 1 - j);
      store(m.products + (j * channels + n) * kCount, g * weight);
    }
  }
}

// A block of the image's pixels.
template <class F>
void grad_image_block(const SepconvArgs& a, const SepconvBlock& block, const SepconvGradMemory<F>& m) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t width = SepconvGradMemory<F>::width(a), group = group_size(a.C);
  const int64_t begin = max(int64_t{0}, block.y - a.taps_v + 1), end = min(a.H, block.y + block.rows);
  if (block.y % SepconvTiles::kRows == 0) copy_tile_of_horizontal<F>(a, block, m);
  for (int64_t c = 0; c < a.C; c += group) {
    const int64_t channels = min(group, a.C - c);
    clear_sums<F>(m.sums, block.rows * channels);
    for (int64_t y = begin; y < end; ++y) {
      // Row r meets row y by tap block.y + r - y: the taps counted from below are those of Meeting.
      const Meeting rows(y - block.y + a.taps_v - 1, block.rows, a.taps_v);
      copy_factors<F>(a, block, m, y, rows, c, channels);
      const SepconvTaps<F> t{m.products, kCount, channels * kCount, m.vertical + rows.lo * width + a.taps_h - 1, width, -1,
                             a.taps_h};
      add_taps<F>(t, rows.count(), channels, m.sums + rows.lo * channels * kCount);
    }
    for (int64_t k = 0; k < block.rows * channels; ++k) {
      const int64_t row = (block.b * a.C + c + k % channels) * a.image_H() + block.y + k / channels;
      store_as(a.out, a.image_type, row * a.image_W() + block.x, load<F>(m.sums + k * kCount), a.image_W() - block.x);
    }
  }
}

}  // namespace

void sepconv_grad_horizontal_tiles(const SepconvArgs& a, int64_t begin, int64_t end) {
  const auto run = [&]<class F>(F) {
    for_each_block_of<F, SepconvGradMemory>(a, a.H, a.W, kShortBlock, begin, end,
                                            [&](const SepconvBlock& block, const auto& m) {
                                              grad_horizontal_block<F>(a, block, m);
                                            });
  };
  is_float64(a) ? run(double()) : run(F32());
}

void sepconv_grad_image_tiles(const SepconvArgs& a, int64_t begin, int64_t end) {
  const auto run = [&]<class F>(F) {
    for_each_block_of<F, SepconvGradMemory>(a, a.image_H(), a.image_W(), kSepconvRows, begin, end,
                                            [&](const SepconvBlock& block, const auto& m) {
                                              grad_image_block<F>(a, block, m);
                                            });
  };
  is_float64(a) ? run(double()) : run(F32());
}

}  // namespace VFI_LEVEL
}  // namespace vfi
