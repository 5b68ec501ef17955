// Tiles of the splat: source pixels in, finished target rows out. A tile is channels_last in the compute type A, one cell
// of kWidth channels per pixel, whatever the layout and element type of the tensors. For *_simd.cpp only.
#pragma once

#include <limits>

#include "ops/splat/splat_landing.h"
#include "ops/splat/splat_rules_simd.h"
#include "simd/simd_quad.h"

namespace vfi {
namespace VFI_LEVEL {

// The vectors that make up a cell.
template <class A, int kWidth>
struct CellVector {
  using type = F32;
};
template <>
struct CellVector<float, kNarrowCell> {
  using type = Quad;
};
template <int kWidth>
struct CellVector<double, kWidth> {
  using type = double;
};
template <class A, int kWidth>
using CellOf = typename CellVector<A, kWidth>::type;

// A cell's vectors from and to n of a tensor's channels.
template <class V, class T>
VFI_INLINE V load_cell(const T* p, int64_t n) {
  if constexpr (std::same_as<V, Quad>) {
    return n >= 4 ? load_quad(p) : load_quad(p, n);
  } else {
    return load<V>(p, n);
  }
}
template <class V, class T>
VFI_INLINE void store_cell(T* p, V v, int64_t n) {
  if constexpr (std::same_as<V, Quad>) {
    n >= 4 ? store_quad(p, v) : store_quad(p, v, n);
  } else {
    store(p, v, n);
  }
}
template <class V, class A>
VFI_INLINE V broadcast_cell(A x) {
  if constexpr (std::same_as<V, Quad>) {
    return broadcast_quad(x);
  } else {
    return broadcast<V>(x);
  }
}
template <class V, class A>
VFI_INLINE V load_accumulator(const A* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class A>
VFI_INLINE void store_accumulator(A* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// kWidth channels of one pixel in registers.
template <class A, int kWidth>
struct Cell {
  using V = CellOf<A, kWidth>;
  static constexpr int kStep = sizeof(V) / sizeof(A), kVectors = kWidth / kStep;
  V v[kVectors];

  VFI_INLINE explicit Cell(const A* p) {
    for (int k = 0; k < kVectors; ++k) v[k] = load_accumulator<V>(p + k * kStep);
  }
  // p[k] += weight v[k]
  VFI_INLINE void add_to(A* p, A weight) const {
    for (int k = 0; k < kVectors; ++k) {
      store_accumulator(p + k * kStep, fma(v[k], broadcast_cell<V>(weight), load_accumulator<V>(p + k * kStep)));
    }
  }
  // The same to two neighbouring cells, with a weight for each.
  VFI_INLINE void add_to_both(A* p, const A* weight) const {
    if constexpr (std::same_as<A, float> && kWidth == kNarrowCell) {
      add_quads(p, v[0], weight);
    } else {
      add_to(p, weight[0]);
      add_to(p + kWidth, weight[1]);
    }
  }
};

// Channel k of pixel i: rows[k] holds 4 or kLanes channels of kLanes pixels before to_cells, the cells in order after it.
template <int kWidth, class F>
VFI_INLINE void to_cells(F* rows) {
  if constexpr (kWidth == kNarrowCell) {
    interleave4(rows);
  } else {
    transpose(rows);
  }
}
template <int kWidth, class F>
VFI_INLINE void from_cells(F* rows) {
  if constexpr (kWidth == kNarrowCell) {
    deinterleave4(rows);
  } else {
    transpose(rows);
  }
}

// How many vectors make up to_cells' square.
template <int kWidth, class F>
constexpr int kSquare = kWidth == kNarrowCell ? 4 : Lanes<F>::kCount;

// `count` channels of n pixels at p; a spare lane of the cell becomes 1 where `one` says so. Whether all are finite.
template <int kWidth, class A, class T>
bool stage_planes(const T* p, int64_t channel, int count, bool one, int64_t n, A* tile) {
  using F = typename VectorFor<A>::type;
  constexpr int kCount = Lanes<F>::kCount, kRows = kSquare<kWidth, F>;
  const F zero = broadcast<F>(0);
  F remains = zero;
  for (int64_t i = 0; i < n; i += kCount) {
    for (int c = 0; c < kWidth; c += kRows) {
      F rows[kRows];
      for (int k = 0; k < kRows; ++k) {
        const T* const from = p + (c + k) * channel + i;
        rows[k] = c + k < count ? load<F>(from, n - i) : zero;
        if (c + k < count) prefetch(from + kChunk);  // many streams, each short: the hardware does not follow
        remains = fma(rows[k], zero, remains);       // NaN for ever once a value is not finite
      }
      if (one) rows[kRows - 1] = broadcast<F>(1);
      to_cells<kWidth>(rows);
      for (int k = 0; k < kRows; ++k) {
        store(kWidth == kNarrowCell ? tile + i * kWidth + k * kCount : tile + (i + k) * kWidth + c, rows[k]);
      }
    }
  }
  return all(equal(remains, zero));
}

template <int kWidth, class A, class T>
bool stage_pixels(const T* p, int64_t pixel, int count, bool one, int64_t n, A* tile) {
  using V = CellOf<A, kWidth>;
  constexpr int kCount = sizeof(V) / sizeof(A);
  V remains = {};
  for (int64_t i = 0; i < n; ++i) {
    for (int k = 0; k < kWidth; k += kCount) {
      const V v = k < count ? load_cell<V>(p + i * pixel + k, count - k) : V{};
      remains = remains + v * A(0);
      store_accumulator(tile + i * kWidth + k, v);
    }
    if (one) tile[i * kWidth + kWidth - 1] = 1;
  }
  A sum[kCount];
  store_accumulator(sum, remains);
  bool finite = true;
  for (const A x : sum) finite = finite && x == 0;
  return finite;
}

// Pixels first.. first + n of one row of s.values, channels c.. c + count.
template <int kWidth, class A>
bool stage(const Planes& values, int64_t b, int64_t c, int count, bool one, int64_t first, int64_t n, A* tile) {
  const int64_t at = b * values.batch + c * values.channel + first * values.pixel;
  const auto typed = [&](const auto* p) {
    if (values.pixel == 1) return stage_planes<kWidth>(p + at, values.channel, count, one, n, tile);
    return stage_pixels<kWidth>(p + at, values.pixel, count, one, n, tile);
  };
  if constexpr (sizeof(A) == sizeof(double)) {
    if (values.type == Dtype::kFloat64) return typed(static_cast<const double*>(values.data));
  }
  if (values.type == Dtype::kFloat32) return typed(static_cast<const float*>(values.data));
  if (values.type == Dtype::kFloat16) return typed(static_cast<const Half*>(values.data));
  return typed(static_cast<const BFloat16*>(values.data));
}

// The first `count` channels of n cells to planes at p, times 1 / q; `inverses` is null where nothing divides. `streams`: whole
// vectors are written past the cache.
template <int kWidth, class A, class F, class T>
void unstage_planes(const A* cells, const F* inverses, T* p, int64_t channel, int count, int64_t n, bool streams) {
  constexpr int kCount = Lanes<F>::kCount, kRows = kSquare<kWidth, F>;
  const F one = broadcast<F>(1);
  for (int64_t i = 0; i < n; i += kCount) {
    const F inverse = inverses == nullptr ? one : inverses[i / kCount];
    for (int c = 0; c < count; c += kRows) {
      F rows[kRows];
      for (int k = 0; k < kRows; ++k) {
        rows[k] = load<F>(kWidth == kNarrowCell ? cells + i * kWidth + k * kCount : cells + (i + k) * kWidth + c);
      }
      from_cells<kWidth>(rows);
      for (int k = 0; k < kRows; ++k) {
        if (c + k >= count) break;
        T* const to = p + (c + k) * channel + i;
        const F value = rows[k] * inverse;
        streams&& n - i >= kCount ? stream(to, value) : store(to, value, n - i);
      }
    }
  }
}

template <int kWidth, class A, class F, class T>
void unstage_pixels(const A* cells, const F* inverses, T* p, int64_t pixel, int count, int64_t n) {
  using V = CellOf<A, kWidth>;
  constexpr int kStep = sizeof(V) / sizeof(A);
  for (int64_t i = 0; i < n; ++i) {
    const A inverse = inverses == nullptr ? A(1) : reinterpret_cast<const A*>(inverses)[i];
    for (int k = 0; k < count; k += kStep) {
      const V v = load_accumulator<V>(cells + i * kWidth + k);
      store_cell(p + i * pixel + k, v * inverse, count - k);
    }
  }
}

}  // namespace VFI_LEVEL
}  // namespace vfi
