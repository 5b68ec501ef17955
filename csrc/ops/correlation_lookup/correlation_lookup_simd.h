// What the kernels of correlation_lookup share. For *_simd.cpp only.
#pragma once

#include "cpu/scratch.h"
#include "simd/simd_chunk.h"
#include "ops/correlation_lookup/correlation_lookup.h"

namespace vfi {
namespace VFI_LEVEL {

// Calls run(T(), F()) with the element type of the maps and what the arithmetic is done in.
template <class Run>
VFI_INLINE void with_lookup_types(const LookupArgs& a, const Run& run) {
  if (a.type == Dtype::kFloat64) return run(double(), double());
  if (a.wide) {
    if (a.type == Dtype::kFloat32) return run(float(), double());
    if (a.type == Dtype::kFloat16) return run(Half(), double());
    return run(BFloat16(), double());
  }
  if (a.type == Dtype::kFloat32) return run(float(), F32());
  if (a.type == Dtype::kFloat16) return run(Half(), F32());
  run(BFloat16(), F32());
}

// Calls run(S*) with the elements of a level: those of the maps, T, or of the compute type where it is pooled.
template <class T, class F, class Run>
VFI_INLINE void with_level(int64_t level, const void* data, const Run& run) {
  if (level == 0) return run(static_cast<const T*>(data));
  run(static_cast<const Number<F>*>(data));
}

// The window of one pixel in one level.
template <class A>
struct LookupWindow {
  WindowAxis<A> x, y;

  VFI_INLINE LookupWindow() = default;
  VFI_INLINE LookupWindow(const LookupArgs& a, int64_t b, int64_t pixel, int64_t level) {
    const int64_t plane = a.H * a.W, at = 2 * b * plane + pixel;
    const int32_t l = static_cast<int32_t>(level), radius = static_cast<int32_t>(a.radius);
    x = window_axis<A>(read_as<double>(a.positions, a.positions_type, at) * a.levels[l].unit, radius);
    y = window_axis<A>(read_as<double>(a.positions, a.positions_type, at + plane) * a.levels[l].unit, radius);
  }
};

// Neighbours x0 ... x1 - 1, y0 ... y1 - 1.
struct LookupBox {
  int64_t x0, x1, y0, y1;

  template <class A>
  VFI_INLINE LookupBox(const LookupWindow<A>& w, int64_t side)
      : x0(w.x.at), x1(x0 + side + 1), y0(w.y.at), y1(y0 + side + 1) {}
  VFI_INLINE void unite(const LookupBox& other) {
    x0 = min(x0, other.x0), x1 = max(x1, other.x1);
    y0 = min(y0, other.y0), y1 = max(y1, other.y1);
  }
  VFI_INLINE int64_t width() const { return x1 - x0; }
  VFI_INLINE int64_t height() const { return y1 - y0; }
};

template <class F>
VFI_INLINE F zero() {
  return broadcast<F>(0);
}

// Products are summed in registers for kPixels pixels and kNeighbours neighbours at a time, or for one pixel and kAlone.
template <class F>
constexpr int kPixels = Lanes<F>::kCount == 16 ? 4 : 2;
constexpr int kNeighbours = 4;
template <class F>
constexpr int kAlone = Lanes<F>::kCount == 16 ? 16 : 8;

// totals[p][q] = sum over C channels, of P pixels and N neighbours. A sum has the order of the channels in each lane, then
// that of the lanes, whatever P and N are.
template <class F, int P, int N, class T, class S>
VFI_INLINE void dot_products(const T* const* pixels, const S* const* neighbours, int64_t C, Number<F>* totals) {
  constexpr int kCount = Lanes<F>::kCount;
  static_assert(P * N % kCount == 0);
  F sum[P * N];  // in registers: every loop over it is unrolled
#pragma GCC unroll 16
  for (int k = 0; k < P * N; ++k) sum[k] = zero<F>();
  const auto add = [&](const auto& read) VFI_INLINE_LAMBDA {
    F v[P];
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) v[p] = read(pixels[p]);
#pragma GCC unroll 16
    for (int q = 0; q < N; ++q) {
      const F w = read(neighbours[q]);
#pragma GCC unroll 4
      for (int p = 0; p < P; ++p) sum[p * N + q] = fma(v[p], w, sum[p * N + q]);
    }
  };
  int64_t c = 0;
  for (; c + kCount <= C; c += kCount) {
    add([&](const auto* from) VFI_INLINE_LAMBDA { return load<F>(from + c); });
  }
  if (c < C) add([&](const auto* from) VFI_INLINE_LAMBDA { return load<F>(from + c, C - c); });
#pragma GCC unroll 16
  for (int k = 0; k < P * N; k += kCount) store(totals + k, sums_of_lanes(sum + k));
}

// The neighbours of a box that lie inside a level: where their channels start, and their numbers in the box.
struct LookupList {
  int64_t* offsets;
  int32_t* places;
  int64_t count;

  // Row after row. A place is x * x_step + y * y_step from the box's corner on.
  VFI_INLINE void fill(const LookupBox& box, const LookupLevel& level, int64_t C, int64_t x_step, int64_t y_step) {
    count = 0;
    const int64_t x0 = max(box.x0, int64_t{0}), x1 = min(box.x1, level.width);
    for (int64_t y = max(box.y0, int64_t{0}); y < min(box.y1, level.height); ++y) {
      int64_t offset = (y * level.width + x0) * C, place = (x0 - box.x0) * x_step + (y - box.y0) * y_step;
      for (int64_t x = x0; x < x1; ++x, offset += C, place += x_step) {
        offsets[count] = offset, places[count] = static_cast<int32_t>(place);
        ++count;
      }
    }
  }
};

// products[p * step + place] of P pixels with the neighbours of a list.
template <class F, int P, int N, class T, class S>
VFI_INLINE void multiply_list(const T* const* pixels, const S* level, const LookupList& list, int64_t C,
                              Number<F>* products, int64_t step) {
  alignas(64) Number<F> totals[P * N];
  for (int64_t k = 0; k < list.count; k += N) {
    const S* neighbours[N];
    for (int q = 0; q < N; ++q) neighbours[q] = level + list.offsets[min(k + q, list.count - 1)];
    dot_products<F, P, N>(pixels, neighbours, C, totals);
    const int64_t n = min(int64_t{N}, list.count - k);
    for (int p = 0; p < P; ++p) {
      for (int64_t q = 0; q < n; ++q) products[p * step + list.places[k + q]] = totals[p * N + q];
    }
  }
}

// Output rows y0 ... y1 - 1 and columns x0 ... x1 - 1 of sample b.
struct LookupTile {
  int64_t b, y0, y1, x0, x1;

  VFI_INLINE LookupTile(const LookupArgs& a, const LookupTiles& tiles, int64_t i)
      : b(i / (tiles.down * tiles.across)),
        y0(i / tiles.across % tiles.down * LookupTiles::kRows),
        y1(min(y0 + LookupTiles::kRows, a.H)),
        x0(i % tiles.across * LookupTiles::kColumns),
        x1(min(x0 + LookupTiles::kColumns, a.W)) {}
};

}  // namespace VFI_LEVEL
}  // namespace vfi
