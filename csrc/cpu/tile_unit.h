// Who multiplies tiles of half precision (simd/tile_product.h): the CPU's matrix unit at level amx, else nobody.
// VFI_KERNELS_TILES=emulated, for tests, lets plain C++ do it at level avx512 and above; =none nobody.
#pragma once

#include "cpu/cpu_dispatch.h"

namespace vfi {

enum class TileUnit { kNone, kAmx, kEmulated };

// Decided once per process, for kBFloat16 and kFloat16. Throws as cpu_level(), and for another VFI_KERNELS_TILES.
TileUnit tile_unit(Dtype type);

}  // namespace vfi
