#include "cpu/cpu_dispatch.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace vfi {
namespace {

// In the order of CpuLevel.
#if defined(__aarch64__)
constexpr const char* kNames[] = {"baseline", "neon", "neon_bf16"};
constexpr const char* kOthers[] = {"avx2", "avx512", "amx"};
#else
constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "amx"};
constexpr const char* kOthers[] = {"neon", "neon_bf16"};  // of other kinds of processors
#endif

// AMX needs the CPU's tiles and their bfloat16 product, and the kernel's permission to use the tile registers.
bool cpu_has_amx() {
#if defined(__x86_64__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & (kBf16 | kTile)) == (kBf16 | kTile);
#else
  return false;
#endif
}
bool may_use_amx() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

#if defined(__aarch64__)
bool cpu_has_bf16() {
#if defined(__linux__)
  constexpr unsigned long kBf16 = 1ul << 14;  // HWCAP2_BF16
  return (getauxval(AT_HWCAP2) & kBf16) != 0;
#elif defined(__APPLE__)
  int has = 0;
  size_t size = sizeof has;
  return sysctlbyname("hw.optional.arm.FEAT_BF16", &has, &size, nullptr, 0) == 0 && has != 0;
#else
  return false;
#endif
}
#endif

#if defined(__x86_64__)
// clang 14 knows no such name. That the system saves the registers is what avx2 says.
bool cpu_has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kF16c = 1u << 29;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & kF16c) != 0;
}
#endif

// __builtin_cpu_supports also asks whether the operating system saves the wide registers.
CpuLevel best_level() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && cpu_has_f16c();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512) return cpu_has_amx() && may_use_amx() ? CpuLevel::kAmx : CpuLevel::kAvx512;
  if (avx2) return CpuLevel::kAvx2;
#elif defined(__aarch64__)
  return cpu_has_bf16() ? CpuLevel::kNeonBf16 : CpuLevel::kNeon;
#endif
  return CpuLevel::kBaseline;
}

CpuLevel choose_level() {
  const CpuLevel best = best_level();
  const char* wanted = std::getenv("VFI_KERNELS_CPU");
  if (wanted == nullptr || *wanted == '\0') return best;
  for (int i = 0; i <= static_cast<int>(best); ++i) {
    if (std::string(wanted) == kNames[i]) return static_cast<CpuLevel>(i);
  }
  const auto is_wanted = [&](const char* name) { return std::string(wanted) == name; };
  if (std::any_of(std::begin(kNames), std::end(kNames), is_wanted) ||
      std::any_of(std::begin(kOthers), std::end(kOthers), is_wanted)) {
    throw std::runtime_error(std::string("vfi_kernels: VFI_KERNELS_CPU=") + wanted + ", but this CPU's best level is " +
                             level_name(best));
  }
  throw std::runtime_error(
      std::string("vfi_kernels: expected VFI_KERNELS_CPU to be baseline, avx2, avx512, amx, neon or neon_bf16, got ") + wanted);
}

}  // namespace

const char* level_name(CpuLevel level) { return kNames[static_cast<int>(level)]; }

CpuLevel cpu_level() {
  static const CpuLevel level = choose_level();
  return level;
}

bool amx_is_refused() { return cpu_has_amx() && !may_use_amx(); }

}  // namespace vfi
