#include "cpu/tile_unit.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace vfi {
namespace {

#if defined(__x86_64__)
bool has_float16_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kAmxFp16 = 1u << 21;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAmxFp16) != 0;
}
#endif

TileUnit choose([[maybe_unused]] Dtype type) {
  const char* const variable = std::getenv("VFI_KERNELS_TILES");
  const std::string wanted = variable == nullptr ? "" : variable;
  const bool emulated = wanted == "emulated";
  if (!wanted.empty() && !emulated && wanted != "none") {
    throw std::runtime_error("vfi_kernels: expected VFI_KERNELS_TILES to be emulated or none, got " + wanted);
  }
#if defined(__x86_64__)
  const CpuLevel level = cpu_level();
  if (emulated && level >= CpuLevel::kAvx512) return TileUnit::kEmulated;
  const bool has_unit = level == CpuLevel::kAmx && (type != Dtype::kFloat16 || has_float16_tiles());
  if (wanted.empty() && has_unit) return TileUnit::kAmx;
#endif
  return TileUnit::kNone;
}

}  // namespace

TileUnit tile_unit(Dtype type) {
  static const TileUnit bfloat16 = choose(Dtype::kBFloat16), float16 = choose(Dtype::kFloat16);
  return type == Dtype::kFloat16 ? float16 : bfloat16;
}

}  // namespace vfi
