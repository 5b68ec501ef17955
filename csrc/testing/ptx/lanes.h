// Functions of Ops that compute one number from others, lane by lane; and the choice among them by a type's name.
#pragma once

#include <string>

#include "testing/ptx/machine.h"
#include "testing/ptx/numbers.h"

namespace vfi::ptx {

template <class F, class T>
void unary(Warp& w, const Op& op) {
  const T* a = w.at<T>(op.a);
  w.each(w.at<T>(op.d), [=](int l) { return apply(F(), a[l]); });
}

template <class F, class T>
void binary(Warp& w, const Op& op) {
  const T *a = w.at<T>(op.a), *b = w.at<T>(op.b);
  w.each(w.at<T>(op.d), [=](int l) { return apply(F(), a[l], b[l]); });
}

template <class F, class T>
void ternary(Warp& w, const Op& op) {
  const T *a = w.at<T>(op.a), *b = w.at<T>(op.b), *c = w.at<T>(op.c);
  w.each(w.at<T>(op.d), [=](int l) { return apply(F(), a[l], b[l], c[l]); });
}

template <class F, class T>
struct Unary {
  static constexpr Run run = unary<F, T>;
};
template <class F, class T>
struct Binary {
  static constexpr Run run = binary<F, T>;
};
template <class F, class T>
struct Ternary {
  static constexpr Run run = ternary<F, T>;
};

// Shape<F, T>::run for the type of that name; null if it is none of these.
template <template <class, class> class Shape, class F>
Run of_integers(const std::string& type) {
  if (type == "u16" || type == "b16") return Shape<F, uint16_t>::run;
  if (type == "s16") return Shape<F, int16_t>::run;
  if (type == "u32" || type == "b32") return Shape<F, uint32_t>::run;
  if (type == "s32") return Shape<F, int32_t>::run;
  if (type == "u64" || type == "b64") return Shape<F, uint64_t>::run;
  if (type == "s64") return Shape<F, int64_t>::run;
  return nullptr;
}

inline float flushed(float x) { return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.0f, x) : x; }

// F with subnormal numbers taken, and given, as 0.
template <class F>
struct Flushed : F {
  template <class... T>
  float operator()(T... x) const {
    return flushed(F()(flushed(x)...));
  }
};

template <template <class, class> class Shape, class F>
Run of_floats(const std::string& type, bool flush) {
  if (type == "f32") return flush ? Shape<Flushed<F>, float>::run : Shape<F, float>::run;
  if (type == "f64") return Shape<F, double>::run;
  if (type == "f16") return Shape<F, Half>::run;
  if (type == "bf16") return Shape<F, BHalf>::run;
  if (type == "f16x2") return Shape<F, Pair<Half>>::run;
  if (type == "bf16x2") return Shape<F, Pair<BHalf>>::run;
  return nullptr;
}

template <template <class, class> class Shape, class F>
Run of_numbers(const std::string& type, bool flush) {
  const Run run = of_integers<Shape, F>(type);
  return run != nullptr ? run : of_floats<Shape, F>(type, flush);
}

}  // namespace vfi::ptx
