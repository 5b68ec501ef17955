// Separable adaptive convolution and the gradient of its columns on the CPU, compiled once per instruction set; formulas in
// sepconv.h.
//
// Work: for a block of kSepconvRows rows and one vector of pixels the kernels are copied as float32 next to each other: in
// their planes every tap is a page apart. Then one row of the image after another is copied, serves every row of the block
// that it is a tap of, and is given up. Every sum has the order of the taps, so it does not depend on the blocks.
#include "ops/sepconv/sepconv_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class F>
struct SepconvMemory {
  using Scalar = typename Lanes<F>::Scalar;
  Scalar *vertical, *horizontal, *window, *sums, *totals, *upstream;

  VFI_INLINE int64_t lay_out(const SepconvArgs& a, void* memory) {
    constexpr int64_t kCount = Lanes<F>::kCount, kSums = kSepconvRows * kSepconvChannels * kCount;
    Layout layout(memory);
    vertical = layout.take<Scalar>(a.taps_v * kSepconvRows * kCount);
    horizontal = layout.take<Scalar>(a.taps_h * kSepconvRows * kCount);
    window = layout.take<Scalar>(kSepconvChannels * width(a));
    sums = layout.take<Scalar>(kSums);
    totals = layout.take<Scalar>(max(kSums, a.taps_v * kSepconvRows * kCount));
    upstream = layout.take<Scalar>(kSums);
    return layout.bytes();
  }
  // Of one channel in the window.
  static VFI_INLINE int64_t width(const SepconvArgs& a) { return a.taps_h + 2 * Lanes<F>::kCount; }
};

// use(k, rows, sums) for each row y + k of the image that the block reads: sums[r - rows.lo][c] is S_i of row r and channel
// c + ..., with i = k - r.
template <class F, class Use>
VFI_INLINE void for_each_row_sum(const SepconvArgs& a, const SepconvBlock& block, const SepconvMemory<F>& m, int64_t c,
                                 int64_t channels, const Use& use) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t width = SepconvMemory<F>::width(a);
  for (int64_t k = 0; k < block.rows + a.taps_v - 1; ++k) {
    for (int64_t n = 0; n < channels; ++n) {
      image_row(a, block.b, c + n, block.y + k).copy<F>(block.x, kCount + a.taps_h - 1, m.window + n * width);
    }
    const Meeting rows(k, block.rows, a.taps_v);
    clear_sums<F>(m.sums, rows.count() * channels);
    const SepconvTaps<F> taps{m.window, width, 1, m.horizontal + rows.lo * kCount, kCount, block.rows * kCount, a.taps_h};
    add_taps<F>(taps, rows.count(), channels, m.sums);
    use(k, rows, m.sums);
  }
}

template <class F>
void copy_both_kernels(const SepconvArgs& a, const SepconvBlock& block, const SepconvMemory<F>& m, bool vertical) {
  copy_kernels<F>(block, a.taps_h, m.horizontal,
                  [&](int64_t j, int64_t y) VFI_INLINE_LAMBDA { return horizontal_row(a, block.b, j, y); });
  if (!vertical) return;
  copy_kernels<F>(block, a.taps_v, m.vertical,
                  [&](int64_t i, int64_t y) VFI_INLINE_LAMBDA { return vertical_row(a, block.b, i, y); });
}

template <class F>
void convolve_block(const SepconvArgs& a, const SepconvBlock& block, const SepconvMemory<F>& m) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t group = group_size(a.C);
  copy_both_kernels<F>(a, block, m, true);
  for (int64_t c = 0; c < a.C; c += group) {
    const int64_t channels = min(group, a.C - c);
    clear_sums<F>(m.totals, block.rows * channels);
    for_each_row_sum<F>(a, block, m, c, channels, [&](int64_t k, const Meeting& rows, const auto* sums) VFI_INLINE_LAMBDA {
      for (int64_t r = rows.lo; r <= rows.hi; ++r) {
        const F weight = load<F>(m.vertical + ((k - r) * block.rows + r) * kCount);
        for (int64_t n = 0; n < channels; ++n, sums += kCount) {
          auto* const total = m.totals + (r * channels + n) * kCount;
          store(total, fma(weight, load<F>(sums), load<F>(total)));
        }
      }
    });
    for (int64_t r = 0; r < block.rows; ++r) {
      for (int64_t n = 0; n < channels; ++n) {
        const int64_t to = ((block.b * a.C + c + n) * a.H + block.y + r) * a.W + block.x;
        store_as(a.out, a.image_type, to, load<F>(m.totals + (r * channels + n) * kCount), a.W - block.x);
      }
    }
  }
}

template <class F>
void grad_vertical_block(const SepconvArgs& a, const SepconvBlock& block, const SepconvMemory<F>& m) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t group = group_size(a.C);
  copy_both_kernels<F>(a, block, m, false);
  clear_sums<F>(m.totals, a.taps_v * block.rows);
  for (int64_t c = 0; c < a.C; c += group) {
    const int64_t channels = min(group, a.C - c);
    copy_upstream<F>(a, block, c, channels, m.upstream);
    for_each_row_sum<F>(a, block, m, c, channels, [&](int64_t k, const Meeting& rows, const auto* sums) VFI_INLINE_LAMBDA {
      for (int64_t r = rows.lo; r <= rows.hi; ++r) {
        auto* const at = m.totals + ((k - r) * block.rows + r) * kCount;
        F total = load<F>(at);
        for (int64_t n = 0; n < channels; ++n, sums += kCount) {
          total = fma(load<F>(m.upstream + (r * channels + n) * kCount), load<F>(sums), total);
        }
        store(at, total);
      }
    });
  }
  for (int64_t i = 0; i < a.taps_v; ++i) {
    for (int64_t r = 0; r < block.rows; ++r) {
      const int64_t to = ((block.b * a.taps_v + i) * a.H + block.y + r) * a.W + block.x;
      store_as(a.out, a.vertical_type, to, load<F>(m.totals + (i * block.rows + r) * kCount), a.W - block.x);
    }
  }
}

template <class F, class Run>
VFI_INLINE void for_each_output_block(const SepconvArgs& a, int64_t begin, int64_t end, const Run& run) {
  for_each_block_of<F, SepconvMemory>(a, a.H, a.W, kSepconvRows, begin, end, run);
}

}  // namespace

void sepconv_tiles(const SepconvArgs& a, int64_t begin, int64_t end) {
  if (is_float64(a)) return for_each_output_block<double>(a, begin, end, [&](const SepconvBlock& block, const auto& m) {
    convolve_block<double>(a, block, m);
  });
  for_each_output_block<F32>(a, begin, end,
                             [&](const SepconvBlock& block, const auto& m) { convolve_block<F32>(a, block, m); });
}

void sepconv_grad_vertical_tiles(const SepconvArgs& a, int64_t begin, int64_t end) {
  if (is_float64(a)) return for_each_output_block<double>(a, begin, end, [&](const SepconvBlock& block, const auto& m) {
    grad_vertical_block<double>(a, block, m);
  });
  for_each_output_block<F32>(a, begin, end,
                             [&](const SepconvBlock& block, const auto& m) { grad_vertical_block<F32>(a, block, m); });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
