// The gradient of routed_conv2d's weights on the CPU, compiled once per instruction set.
//
//   grad_weight[u][(v, c), n] += sum over o of x[c, i(o, v)] g[n, o]        for every output row and the input row of tap u
//
// is one product of the transposed tile and the row of g; in half precision it is one of pairs (routed_conv2d_pairs_simd.h).
// Parts of the list have sums of their own, added up at the end in the order of the list: the same whatever thread worked on
// them.
#include "ops/routed_conv2d/routed_conv2d_pairs_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

// Strip `first` .. of patch k to the sums of one part.
template <class T>
void add_strip(const RoutedWeightArgs& a, int64_t k, int64_t first, int64_t count,
               const RoutedMemory<SumOf<T>>& memory, SumOf<T>* part) {
  using F = typename VectorOf<T>::type;
  const RoutedAxis& x = a.axis;
  const RoutedPixels<const T> from(a, a.from, k, x.in_side, a.reads_neighbours), grad(a, a.grad, k, x.out_side, false);
  const RoutedTile<SumOf<T>> tile(a, first, count, memory.tile);
  SumOf<T>* const g = memory.sums;
  const int64_t row = padded_columns<F>(a.columns), block = routed_block_size(a);
  SumOf<T>* const bias = part + x.K * x.phases() * block;
  const Strides& s = a.grad.strides;
  fill_tile(tile, from, a.from.strides);
  for (int64_t o = first; o < first + count; ++o) {
    copy_pixels<false>(grad.origin + o * s.row, {s.column, s.channel}, g, {row, 1}, x.out_side, a.columns);
    for (int64_t i = 0; i < x.out_side; ++i) copy_run<true, F>(g + i * row, bias, row);
    for_each_product(x, from, o, [&](int64_t u, int64_t f, int64_t y) {
      const RoutedPhase phase(x, f);
      multiply_add<F>(tile.at(y, phase.first_input), 1, phase.input_step * a.depth, phase.taps * a.depth, g + f * row,
                      x.phases() * row, phase.count, a.columns, part + (u * x.phases() + f) * block, row);
    });
  }
}

// Calls add(k, first, memory, sums) for every strip of the patches of parts begin .. end - 1.
template <class Memory, class Sum, class Add>
void add_parts(const RoutedWeightArgs& a, int64_t begin, int64_t end, Sum, const Add& add) {
  const WithScratch<Memory> memory(a);
  std::memset(memory.scratch.data(), 0, memory.scratch.bytes());
  for (int64_t n = begin; n < end; ++n) {
    Sum* const part = static_cast<Sum*>(a.parts) + n * routed_part_size(a);
    std::memset(part, 0, routed_part_size(a) * sizeof(Sum));
    const int64_t last = (n + 1) * a.count / a.part_count;
    for (int64_t k = n * a.count / a.part_count; k < last; ++k) {
      if (!patch_at(a.indices, k, a.grid).used) continue;
      for (int64_t o = 0; o < a.axis.out_side; o += a.strip) add(k, o, memory, part);
    }
  }
}

}  // namespace

void routed_weight_parts(const RoutedWeightArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    if constexpr (kHasPairs && HalfPrecision<T>) {
      const TileScope tiles_of_this_thread(true);
      const auto add = [&](int64_t k, int64_t o, const RoutedPairMemory<T>& memory, float* part) {
        add_strip_of_pairs(a, k, o, memory, part);
      };
      if (weights_take_pairs<T>(a)) return add_parts<RoutedPairMemory<T>>(a, begin, end, float(), add);
    }
    using Sum = SumOf<T>;
    add_parts<RoutedMemory<Sum>>(a, begin, end, Sum(), [&](int64_t k, int64_t o, const RoutedMemory<Sum>& memory, Sum* part) {
      add_strip<T>(a, k, o, min(a.strip, a.axis.out_side - o), memory, part);
    });
  });
}

void routed_weight_sum(const RoutedWeightArgs& a, int64_t begin, int64_t end) {
  with_element_type(a.type, [&]<class T>(T) {
    using F = typename VectorOf<T>::type;
    const int64_t row = padded_columns<F>(a.columns), block = routed_block_size(a), size = routed_part_size(a);
    const auto sum = [&](int64_t at) {
      SumOf<T> total = 0;
      for (int64_t n = 0; n < a.part_count; ++n) total += static_cast<const SumOf<T>*>(a.parts)[n * size + at];
      return Element<T>::from(total);
    };
    T* const weight = static_cast<T*>(a.grad_weight);
    T* const bias = static_cast<T*>(a.grad_bias);
    const int64_t phases = a.axis.phases();
    const bool pairs = weights_take_pairs<T>(a);
    for (int64_t u = begin; u < end; ++u) {
      for (int64_t f = 0; f < phases && weight != nullptr; ++f) {
        const RoutedPhase phase(a.axis, f);
        for (int64_t k = 0; k < phase.taps * a.depth; ++k) {
          const int64_t v = phase.first_tap + k / a.depth * phase.tap_step;
          T* const to = weight + k % a.depth * a.depth_step + u * a.axis.K + v;
          for (int64_t n = 0; n < a.columns; ++n) {
            to[n * a.column_step] = sum(pairs ? pair_sum_at(a, u, v, k % a.depth, n) : (u * phases + f) * block + k * row + n);
          }
        }
      }
    }
    if (begin > 0 || bias == nullptr) return;
    for (int64_t n = 0; n < a.columns; ++n) bias[n] = sum(a.axis.K * phases * block + n);
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
