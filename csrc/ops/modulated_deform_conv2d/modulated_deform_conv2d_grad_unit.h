// A unit of work of modulated_deform_conv2d's gradients on the CPU, a sample and a block of channels: its memory, and its
// two products, of E: as numbers of the sums, or where those of half precision are multiplied as pairs, of the image's type.
// For *_grad_simd.cpp only.
#pragma once

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {

// One unit: where its parts are in memory.
template <class F, class T, class E>
struct Unit {
  using Scalar = typename Lanes<F>::Scalar;
  static constexpr bool kPairs = !std::same_as<E, Scalar>;
  const DeformGradArgs& a;
  DeformBlock block;
  int64_t index, sample;       // of the block; of the batch
  int64_t row, upstream_row;   // values of a row of columns, of output channels
  Scalar* image;               // [H W, block.count], sums of grad_input
  T* copy;                     // [H W, block.count], where the input is not read as it is
  E* upstream;                 // [kDeformRows, upstream_row], grad_out of a tile
  E* turned;                   // [upstream_row, kDeformRows], the same where pairs are multiplied
  Scalar* g;                   // [kDeformRows, row]
  E *columns, *pairs;          // [kDeformRows, row] each; pairs of rows, where they are multiplied
  E* weights;                  // [taps], each [outputs of the group, row], packed
  Scalar* weight_sums;         // the unit's of a.weight_parts
  const T* window;             // pixels of the block's channels
  int64_t window_step;         // elements from one pixel to the next

  Unit(const DeformGradArgs& args, int64_t i)
      : a(args), block(args.blocks[i % args.block_count]), index(i % args.block_count), sample(i / args.block_count),
        row(padded_columns<F>(block.count)), upstream_row(padded_columns<F>(args.g.group_out())) {}

  int64_t pixels() const { return int64_t{a.g.H} * a.g.W; }

  int64_t lay_out(void* memory) {
    Layout layout(memory);
    image = layout.take<Scalar>(pixels() * block.count);
    copy = layout.take<T>(a.direct ? 0 : pixels() * block.count);
    upstream = layout.take<E>(kDeformRows * upstream_row);
    turned = layout.take<E>(kPairs ? kDeformRows * upstream_row : 0);
    g = layout.take<Scalar>(kDeformRows * row);
    columns = layout.take<E>(kDeformRows * row);
    pairs = layout.take<E>(kPairs ? kDeformRows * row : 0);
    weights = layout.take<E>(a.g.taps() * a.g.group_out() * row);
    return layout.bytes();
  }

  // Before the first tile.
  void start() {
    const DeformGeometry& geo = a.g;
    std::memset(image, 0, pixels() * block.count * sizeof(Scalar));
    std::memset(upstream, 0, kDeformRows * upstream_row * sizeof(E));
    if (kPairs) std::memset(turned, 0, kDeformRows * upstream_row * sizeof(E));
    std::memset(g, 0, kDeformRows * row * sizeof(Scalar));
    std::memset(columns, 0, kDeformRows * row * sizeof(E));
    weight_sums = static_cast<Scalar*>(a.weight_parts);
    if (weight_sums != nullptr) {
      weight_sums += (sample * a.block_count + index) * deform_weight_part_size(a);
      std::memset(weight_sums, 0, deform_weight_part_size(a) * sizeof(Scalar));
    }
    for (int64_t t = 0; t < geo.taps(); ++t) pack_tap(t);
    const T* const input = static_cast<const T*>(a.input) + sample * geo.C * pixels();
    window = a.direct ? input + block.first : copy, window_step = a.direct ? geo.C : block.count;
    if (a.direct) return;
    for (int64_t y = 0; y < geo.H; ++y) {
      copy_pixels<false>(input + block.first * pixels() + y * geo.W, {1, pixels()}, copy + y * geo.W * block.count,
                         {block.count, 1}, geo.W, block.count);
    }
  }

  // The weights of the block's channels, transposed: [o][c].
  void pack_tap(int64_t t) {
    const DeformGeometry& geo = a.g;
    const int64_t taps = geo.taps(), outs = geo.group_out(), step = geo.group_in() * taps;
    const int64_t channel = block.first - block.group * geo.group_in();
    const T* const from = static_cast<const T*>(a.weight) + block.group * outs * step + channel * taps + t;
    pack_factor<F>(outs, block.count, weights + t * row * outs, [&](int64_t o, int64_t c) { return from[o * step + c * taps]; });
  }

  // g = upstream times the weights of tap t.
  void multiply_weights(int64_t t, int64_t count) {
    const int64_t outs = a.g.group_out();
    const E* const factor = weights + t * row * outs;
    std::memset(g, 0, kDeformRows * row * sizeof(Scalar));
    if constexpr (!kPairs) {
      multiply_add<F>(upstream, upstream_row, 1, count, factor, 0, outs, block.count, g, row);
    } else if constexpr (kHasPairs) {
      multiply_add_pairs(PairFactors<E>{upstream, upstream_row, 0, factor, 0, 0, 1, outs}, count, block.count, g, row);
    }
  }

  // The sums of tap t's weights += upstream, transposed, times the columns.
  void multiply_columns(int64_t t, int64_t count) {
    const int64_t outs = a.g.group_out();
    Scalar* const sums = weight_sums + t * (outs + kDeformSlack) * row;
    if constexpr (!kPairs) {
      multiply_add<F>(upstream, 1, upstream_row, outs, columns, row, count, block.count, sums, row);
    } else if constexpr (kHasPairs) {
      for (int64_t i = 0; i < kDeformRows; i += 2) pair_rows(columns + i * row, columns + (i + 1) * row, row, pairs + i * row);
      multiply_add_pairs(PairFactors<E>{turned, kDeformRows, 0, pairs, 2 * row, 0, 1, kDeformRows}, outs, block.count, sums, row);
    }
  }
};

// kCount output channels of kCount pixels as rows of channels: pixel i of the tile on, channel o of the group on.
template <class F, class T, class E>
VFI_INLINE void upstream_square(const Unit<F, T, E>& unit, const DeformTile& tile, int64_t i, int64_t o, F* rows) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const DeformGradArgs& a = unit.a;
  const DeformGeometry& g = a.g;
  const int64_t outs = g.group_out(), pixels = g.pixels(), channel = unit.block.group * outs + o;
  const int64_t channels = min(kCount, outs - o), here = min(kCount, tile.count - i);
  const T* const sample = static_cast<const T*>(a.grad_out) + tile.b * g.C_out * pixels;
  for (int64_t k = 0; k < kCount; ++k) rows[k] = broadcast<F>(0);
  if (a.grad_out_channels_last) {
    for (int64_t k = 0; k < here; ++k) rows[k] = load<F>(sample + (tile.first + i + k) * g.C_out + channel, channels);
    return;
  }
  for (int64_t k = 0; k < channels; ++k) rows[k] = load<F>(sample + (channel + k) * pixels + tile.first + i, here);
  transpose(rows);
}

// grad_out of the tile and group as rows of output channels, with zeros past the last channel, and as columns.
template <class F, class T, class E>
void load_upstream(const Unit<F, T, E>& unit, const DeformTile& tile) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  for (int64_t o = 0; o < unit.upstream_row; o += kCount) {
    for (int64_t i = 0; i < tile.count; i += kCount) {
      F rows[kCount];
      upstream_square(unit, tile, i, o, rows);
      for (int64_t k = 0; k < kCount; ++k) store(unit.upstream + (i + k) * unit.upstream_row + o, rows[k]);
      if constexpr (Unit<F, T, E>::kPairs) {
        transpose(rows);
        for (int64_t k = 0; k < kCount; ++k) store(unit.turned + (o + k) * kDeformRows + i, rows[k]);
      }
    }
  }
  if (!unit.kPairs || tile.count == kDeformTile) return;
  // What larger tiles have left there would be multiplied.
  const int64_t left = kDeformRows - tile.count;
  for (int64_t o = 0; o < unit.upstream_row; ++o) {
    std::memset(unit.turned + o * kDeformRows + tile.count, 0, left * sizeof(E));
  }
  std::memset(unit.columns + tile.count * unit.row, 0, left * unit.row * sizeof(E));
}

}  // namespace VFI_LEVEL
}  // namespace vfi
