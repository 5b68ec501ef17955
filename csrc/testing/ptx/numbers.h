// Numbers as PTX has them, and arithmetic on them: half and bfloat16 by way of double, from which they are rounded once.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace vfi::ptx {

struct Half {
  uint16_t bits;
};
struct BHalf {
  uint16_t bits;
};
template <class T>
struct Pair {
  T x, y;
};

inline float widen(float x) { return x; }
inline double widen(double x) { return x; }
inline double widen(Half x) { return static_cast<double>(std::bit_cast<_Float16>(x.bits)); }
inline double widen(BHalf x) { return std::bit_cast<float>(static_cast<uint32_t>(x.bits) << 16); }

template <class T>
T narrow(double x);
template <>
inline float narrow<float>(double x) {
  return static_cast<float>(x);
}
template <>
inline double narrow<double>(double x) {
  return x;
}
template <>
inline Half narrow<Half>(double x) {
  return {x != x ? uint16_t{0x7fff} : std::bit_cast<uint16_t>(static_cast<_Float16>(x))};
}
// To odd float32 first: what is cut off stays visible in the last bit, so that the second rounding is as one.
template <>
inline BHalf narrow<BHalf>(double x) {
  if (x != x) return {0x7fff};
  float f = static_cast<float>(x);
  uint32_t bits = std::bit_cast<uint32_t>(f);
  if (static_cast<double>(f) != x && std::isfinite(f)) {
    if (std::fabs(static_cast<double>(f)) > std::fabs(x)) --bits;
    bits |= 1;
  }
  if (std::isinf(f)) return {static_cast<uint16_t>(bits >> 16)};
  return {static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}

template <class T>
constexpr bool kIsFloat =
    std::is_same_v<T, float> || std::is_same_v<T, double> || std::is_same_v<T, Half> || std::is_same_v<T, BHalf>;

// f of numbers, each half of a pair by itself.
template <class F, class T, class... More>
inline T apply(const F& f, T a, More... more) {
  if constexpr (std::is_integral_v<T> || std::is_same_v<T, float> || std::is_same_v<T, double>) {
    return f(a, more...);
  } else {
    return narrow<T>(f(widen(a), widen(more)...));
  }
}
template <class F, class T, class... More>
inline Pair<T> apply(const F& f, Pair<T> a, More... more) {
  return {apply(f, a.x, more.x...), apply(f, a.y, more.y...)};
}

}  // namespace vfi::ptx
