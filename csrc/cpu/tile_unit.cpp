#include "cpu/tile_unit.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vfi {
namespace {

bool has_float16_tiles() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxFp16 = 1u << 21;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAmxFp16) != 0;
#else
  return false;
#endif
}

TileUnit choose(Dtype type) {
  const CpuLevel level = cpu_level();
  const char* const variable = std::getenv("VFI_KERNELS_TILES");
  const std::string wanted = variable == nullptr ? "" : variable;
  if (wanted == "none" || level < CpuLevel::kAvx512) return TileUnit::kNone;
  if (wanted == "emulated") return TileUnit::kEmulated;
  if (!wanted.empty()) {
    throw std::runtime_error("vfi_kernels: expected VFI_KERNELS_TILES to be emulated or none, got " + wanted);
  }
  if (level != CpuLevel::kAmx || (type == Dtype::kFloat16 && !has_float16_tiles())) return TileUnit::kNone;
  return TileUnit::kAmx;
}

}  // namespace

TileUnit tile_unit(Dtype type) {
  static const TileUnit bfloat16 = choose(Dtype::kBFloat16), float16 = choose(Dtype::kFloat16);
  return type == Dtype::kFloat16 ? float16 : bfloat16;
}

}  // namespace vfi
