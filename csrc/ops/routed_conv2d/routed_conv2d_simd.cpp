// Convolution of listed patches on the CPU, and the gradient of its input, compiled once per instruction set; what is
// computed is in routed_conv2d.h, how a row of taps becomes a product in routed_conv2d_simd.h.
//
// The unit of work is a strip of output rows of one patch. Its input is copied into a tile that stays in the second level of
// the cache; the sums of one output row stay in the first, get bias and activation, and are written where they belong.
#include "simd/simd_activation.h"
#include "ops/routed_conv2d/routed_conv2d_simd.h"

namespace vfi {
namespace VFI_LEVEL {
namespace {

template <class T, class Column>
void pack_row(const RoutedArgs& a, int64_t u) {
  using F = typename VectorOf<T>::type;
  const T* const weight = static_cast<const T*>(a.weight) + u * a.axis.K;
  for (int64_t f = 0; f < a.axis.phases(); ++f) {
    const RoutedPhase phase(a.axis, f);
    Column* const to = static_cast<Column*>(a.packed) + (u * a.axis.phases() + f) * routed_panel_size(a);
    pack_factor<F>(phase.taps * a.depth, a.columns, to, [&](int64_t k, int64_t n) {
      const int64_t v = phase.first_tap + k / a.depth * phase.tap_step;
      return weight[k % a.depth * a.depth_step + n * a.column_step + v];
    });
  }
}

// The sums of output row o start with the bias.
template <class F, class T>
void start_sums(const RoutedArgs& a, typename Lanes<F>::Scalar* sums) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  const int64_t row = padded_columns<F>(a.columns);
  for (int64_t n = 0; n < row; n += kCount) {
    const F bias = a.bias == nullptr ? broadcast<F>(0) : load<F>(static_cast<const T*>(a.bias) + n, a.columns - n);
    for (int64_t i = 0; i < a.axis.out_count(); ++i) store(sums + i * row + n, bias);
  }
}

template <class F, class T>
void activate_sums(const RoutedArgs& a, typename Lanes<F>::Scalar* sums) {
  constexpr int64_t kCount = Lanes<F>::kCount;
  using Scalar = typename Lanes<F>::Scalar;
  if (a.activation == Activation::kNone) return;
  const T* const slopes = static_cast<const T*>(a.slopes);
  const int64_t row = padded_columns<F>(a.columns);
  for (int64_t n = 0; n < row; n += kCount) {
    F slope = broadcast<F>(static_cast<Scalar>(a.slope));
    if (slopes != nullptr && a.one_slope) slope = broadcast<F>(static_cast<Scalar>(to_float(slopes[0])));
    if (slopes != nullptr && !a.one_slope) slope = load<F>(slopes + n, a.columns - n);
    for (int64_t i = 0; i < a.axis.out_count(); ++i) {
      Scalar* const p = sums + i * row + n;
      store(p, activate(a.activation, load<F>(p), slope));
    }
  }
}

template <class F, class T>
void write_sums(const RoutedArgs& a, int64_t k, int64_t o, const typename Lanes<F>::Scalar* sums) {
  const RoutedPixels<T> to(a, a.to, k, a.axis.out_side, true);
  if (!to.has_row(o)) return;
  const int64_t row = padded_columns<F>(a.columns), first = a.axis.out_first();
  const int64_t left = max(to.left, first), right = min(to.right, first + a.axis.out_count());
  T* const out = to.origin + o * a.to.strides.row + left * a.to.strides.column;
  const auto* const from = sums + (left - first) * row;
  const PixelStrides strides = {a.to.strides.column, a.to.strides.channel};
  if (a.adds) return copy_pixels<true>(from, {row, 1}, out, strides, right - left, a.columns);
  copy_pixels<false>(from, {row, 1}, out, strides, right - left, a.columns);
}

// Adds to the sums of an output row what the input makes of it. E: what is multiplied.
template <class T, class E>
void add_products(const RoutedArgs& a, const RoutedTile<E>& tile, const RoutedPixels<const T>& from, int64_t o,
                  SumOf<T>* sums) {
  using F = typename VectorOf<T>::type;
  const RoutedAxis& x = a.axis;
  const int64_t row = padded_columns<F>(a.columns), sum_row = x.phases() * row;
  const auto packed = [&](int64_t u, int64_t f) {
    return static_cast<const E*>(a.packed) + (u * x.phases() + f) * routed_panel_size(a);
  };
  if constexpr (std::same_as<E, SumOf<T>>) {
    for_each_product(x, from, o, [&](int64_t u, int64_t f, int64_t y) {
      const RoutedPhase phase(x, f);
      multiply_add<F>(tile.at(y, phase.first_input), phase.input_step * a.depth, 1, phase.count, packed(u, f), 0,
                      phase.taps * a.depth, a.columns, sums + f * row, sum_row);
    });
  } else if constexpr (kHasPairs) {
    const RoutedRows rows(x, from, o);
    for (int64_t f = 0; f < x.phases() && rows.count > 0; ++f) {
      const RoutedPhase phase(x, f);
      const int64_t a_part = rows.row_step * tile.columns * a.depth;
      const int64_t b_part = rows.tap_step * x.phases() * routed_panel_size(a);
      const PairFactors<E> factors = {tile.at(rows.y, phase.first_input), phase.input_step * a.depth, a_part,
                                      packed(rows.u, f), 0, b_part, rows.count, phase.taps * a.depth};
      multiply_add_pairs(factors, phase.count, a.columns, sums + f * row, sum_row);
    }
  }
}

// Output rows first .. first + count - 1 of patch k.
template <class T, class E>
void convolve_strip(const RoutedArgs& a, int64_t k, int64_t first, int64_t count,
                    const RoutedMemory<SumOf<T>>& memory) {
  using F = typename VectorOf<T>::type;
  const RoutedPixels<const T> from(a, a.from, k, a.axis.in_side, a.reads_neighbours);
  const RoutedTile<E> tile(a, first, count, reinterpret_cast<E*>(memory.tile));
  fill_tile(tile, from, a.from.strides);
  for (int64_t o = first; o < first + count; ++o) {
    start_sums<F, T>(a, memory.sums);
    add_products(a, tile, from, o, memory.sums);
    activate_sums<F, T>(a, memory.sums);
    write_sums<F, T>(a, k, o, memory.sums);
  }
}

// Patches of the list that name none hold zeros.
template <class T>
void clear_strip(const RoutedArgs& a, int64_t k, int64_t first, int64_t count) {
  if (a.to.in_image) return;
  const Strides& s = a.to.strides;
  for (int64_t o = first; o < first + count; ++o) {
    T* const row = static_cast<T*>(a.to.data) + k * s.batch + o * s.row;
    clear_pixels(row, {s.column, s.channel}, a.axis.out_side, a.columns);
  }
}

}  // namespace

// Calls run(T(), E()): an element, and what is multiplied.
template <class Run>
VFI_INLINE void with_factors(const RoutedArgs& a, const Run& run) {
  with_element_type(a.type, [&]<class T>(T) {
    if constexpr (kHasPairs && HalfPrecision<T>) {
      if (uses_pairs<T>(a.depth)) return run(T(), T());
    }
    run(T(), SumOf<T>());
  });
}

void routed_pack_weights(const RoutedArgs& a, int64_t begin, int64_t end) {
  with_factors(a, [&]<class T, class E>(T, E) {
    for (int64_t u = begin; u < end; ++u) pack_row<T, E>(a, u);
  });
}

void routed_strips(const RoutedArgs& a, int64_t begin, int64_t end) {
  with_factors(a, [&]<class T, class E>(T, E) {
    const WithScratch<RoutedMemory<SumOf<T>>> memory(a);
    const TileScope tiles_of_this_thread(HalfPrecision<E>);
    for (int64_t n = begin; n < end; ++n) {
      const int64_t k = a.chosen[n / a.strips()], start = n % a.strips() * a.strip;
      const int64_t first = a.axis.out_first() + start, count = min(a.strip, a.axis.out_count() - start);
      if (!patch_at(a.indices, k, a.grid).used) {
        clear_strip<T>(a, k, first, count);
      } else {
        convolve_strip<T, E>(a, k, first, count, memory);
      }
    }
  });
}

}  // namespace VFI_LEVEL
}  // namespace vfi
