// Products of matrices of half precision with float32 sums, two terms of the depth or more at a time: on tiles where the CPU
// has a matrix unit for the type, bfloat16 also by the dot products of AVX512-BF16, or on ARM by the products of FEAT_BF16. The
// order of a sum is that of the parts and within one that of the depth, but terms past the last whole step of the tiles come
// after all others. For *_simd.cpp only.
//
//   kHasPairs  kHasTiles              whether this instruction set has any of it; tiles of 16 by 16 among it
//   uses_pairs<T>(depth)              whether factors of T with `depth` terms a part are multiplied so; else as float32
//   multiply_add_pairs(factors, rows, columns, c, c_row)   of such factors, inside a TileScope. A and C have kTileSide rows more;
//                                     B is packed but for whole steps of tiles
//   turns_pairs<T>(depth)             whether, with this many terms, B need not be packed
//   pair_rows(first, second, n, to)   n elements of two rows, beside each other; n is a multiple of kLanes
//   rounds_bfloat16()                 whether the CPU rounds to bfloat16 by itself: then
//   load_apart(p, even, odd)          2 kLanes elements, and
//   store_together(p, even, odd)      the same rounded, and store_rounded(p, v, n)
#pragma once

#include "cpu/tile_unit.h"
#include "simd/simd_product.h"
#include "simd/tile_product.h"

namespace vfi {
namespace VFI_LEVEL {

template <class T>
concept HalfPrecision = std::same_as<T, Half> || std::same_as<T, BFloat16>;

template <HalfPrecision T>
TileUnit unit_of() {
  return tile_unit(std::same_as<T, Half> ? Dtype::kFloat16 : Dtype::kBFloat16);
}

}  // namespace VFI_LEVEL
}  // namespace vfi

#if defined(VFI_PAIRS_HEADER)
#include VFI_PAIRS_HEADER
#else
namespace vfi {
namespace VFI_LEVEL {

constexpr bool kHasPairs = false, kHasTiles = false;

struct TileScope {
  VFI_INLINE explicit TileScope(bool) {}
};

}  // namespace VFI_LEVEL
}  // namespace vfi
#endif
