// simd.h with one lane: F is float or double.
#pragma once

namespace vfi {
namespace VFI_LEVEL {

template <std::floating_point F>
struct Lanes<F> {
  static constexpr int kCount = 1;
  using Scalar = F;
  using Int = int64_t;
  using Mask = bool;

  static VFI_INLINE F broadcast(F x) { return x; }
  static VFI_INLINE F lane_numbers() { return 0; }
  static VFI_INLINE F from_int(int64_t x) { return static_cast<F>(x); }
  template <class T>
  static VFI_INLINE F load(const T* p) {
    return static_cast<F>(to_float(*p));
  }
  template <class T>
  static VFI_INLINE F load(const T* p, int64_t n) {
    return n > 0 ? load(p) : F(0);
  }
  template <class T>
  static VFI_INLINE F gather(const T* p, int64_t offset) {
    return load(p + offset);
  }
  template <class T>
  static VFI_INLINE void gather_pairs(const T* p, int64_t offset, F& a, F& b) {
    a = load(p + offset);
    b = load(p + offset + 1);
  }
};

template <std::floating_point F, class T>
VFI_INLINE void store(T* p, F v) {
  *p = Element<T>::from(v);
}
template <std::floating_point F, class T>
VFI_INLINE void store(T* p, F v, int64_t n) {
  if (n > 0) *p = Element<T>::from(v);
}
template <std::floating_point F, class T>
VFI_INLINE void stream(T* p, F v) {
  *p = Element<T>::from(v);
}

template <std::floating_point F>
VFI_INLINE F fma(F a, F b, F c) {
#if defined(__FMA__) || defined(__aarch64__)
  return std::fma(a, b, c);
#else
  return a * b + c;
#endif
}
template <std::floating_point F>
VFI_INLINE F fma_where(bool mask, F a, F b, F c) {
  return mask ? fma(a, b, c) : c;
}
template <std::floating_point F>
VFI_INLINE F round_down(F x) {
  return std::floor(x);
}
template <std::floating_point F>
VFI_INLINE F exp(F x) {
  return std::exp(x);
}
template <std::floating_point F>
VFI_INLINE int64_t to_int(F x) {
  return static_cast<int64_t>(x);
}

// float, double and int64_t.
template <class V>
concept OneLane = std::floating_point<V> || std::same_as<V, int64_t>;

template <OneLane V>
VFI_INLINE V min(V a, V b) {
  return a < b ? a : b;
}
template <OneLane V>
VFI_INLINE V max(V a, V b) {
  return a > b ? a : b;
}
template <OneLane V>
VFI_INLINE bool less(V a, V b) {
  return a < b;
}
template <OneLane V>
VFI_INLINE bool less_equal(V a, V b) {
  return a <= b;
}
template <OneLane V>
VFI_INLINE bool equal(V a, V b) {
  return a == b;
}
template <OneLane V>
VFI_INLINE bool not_equal(V a, V b) {
  return a != b;
}
template <OneLane V>
VFI_INLINE V select(bool mask, V a, V b) {
  return mask ? a : b;
}
VFI_INLINE int64_t lowest(int64_t x) { return x; }
VFI_INLINE int64_t highest(int64_t x) { return x; }
VFI_INLINE bool all(bool mask) { return mask; }
VFI_INLINE bool any(bool mask) { return mask; }

}  // namespace VFI_LEVEL
}  // namespace vfi
