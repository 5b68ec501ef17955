// add, sub, mul, mad, fma, div, rem, min, max, abs, neg and the functions of the special unit.
#include <cfenv>

#include "testing/ptx/decoder.h"
#include "testing/ptx/lanes.h"

namespace vfi::ptx {
namespace {

template <class T>
using Unsigned = std::make_unsigned_t<T>;
template <class T>
constexpr bool kWhole = std::is_integral_v<T>;

struct Add {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kWhole<T>)
      return static_cast<T>(1u * Unsigned<T>(a) + Unsigned<T>(b));
    else
      return a + b;
  }
};
struct Subtract {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kWhole<T>)
      return static_cast<T>(1u * Unsigned<T>(a) - Unsigned<T>(b));
    else
      return a - b;
  }
};
struct Multiply {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kWhole<T>)
      return static_cast<T>(1u * Unsigned<T>(a) * Unsigned<T>(b));
    else
      return a * b;
  }
};
struct MultiplyAdd {
  template <class T>
  T operator()(T a, T b, T c) const {
    if constexpr (kWhole<T>)
      return static_cast<T>(1u * Unsigned<T>(a) * Unsigned<T>(b) + Unsigned<T>(c));
    else
      return std::fma(a, b, c);
  }
};
struct MultiplyHigh {
  template <class T>
  T operator()(T a, T b) const {
    using Wide = std::conditional_t<std::is_signed_v<T>, __int128, unsigned __int128>;
    return static_cast<T>((static_cast<Wide>(a) * static_cast<Wide>(b)) >> (8 * sizeof(T)));
  }
};
struct MultiplyHighAdd {
  template <class T>
  T operator()(T a, T b, T c) const {
    return Add()(MultiplyHigh()(a, b), c);
  }
};
struct Divide {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kWhole<T>)
      return b == 0                                                     ? static_cast<T>(-1)
             : b == static_cast<T>(-1) && a != 0 && std::is_signed_v<T> ? Subtract()(T(0), a)
                                                                        : static_cast<T>(a / b);
    else
      return a / b;
  }
};
struct Remainder {
  template <class T>
  T operator()(T a, T b) const {
    return b == 0 ? a : (std::is_signed_v<T> && b == static_cast<T>(-1)) ? T(0) : static_cast<T>(a % b);
  }
};
// The number where one is NaN; -0 is less than 0.
template <bool kLess, bool kNan>
struct Extreme {
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (kWhole<T>) {
      return (kLess ? b < a : a < b) ? b : a;
    } else {
      if (kNan && (a != a || b != b)) return std::numeric_limits<T>::quiet_NaN();
      const T first = std::signbit(a) == kLess ? a : b;  // of equal ones
      const T best = a == b ? first : (kLess ? a < b : a > b) ? a : b;
      return a != a ? b : b != b ? a : best;
    }
  }
};
struct Absolute {
  template <class T>
  T operator()(T a) const {
    if constexpr (kWhole<T>)
      return a < 0 ? Subtract()(T(0), a) : a;
    else
      return std::fabs(a);
  }
};
struct Negate {
  template <class T>
  T operator()(T a) const {
    if constexpr (kWhole<T>)
      return Subtract()(T(0), a);
    else
      return -a;
  }
};
struct CopySign {  // the sign of the first
  template <class T>
  T operator()(T a, T b) const {
    return std::copysign(b, a);
  }
};

#define VFI_PTX_SPECIAL(name, value) \
  struct name {                      \
    template <class T>               \
    T operator()(T x) const {        \
      return value;                  \
    }                                \
  }
VFI_PTX_SPECIAL(Exponential, std::exp2(x));
VFI_PTX_SPECIAL(Logarithm, std::log2(x));
VFI_PTX_SPECIAL(Reciprocal, T(1) / x);
VFI_PTX_SPECIAL(Root, std::sqrt(x));
VFI_PTX_SPECIAL(ReciprocalRoot, T(1) / std::sqrt(x));
VFI_PTX_SPECIAL(Sine, std::sin(x));
VFI_PTX_SPECIAL(Cosine, std::cos(x));
VFI_PTX_SPECIAL(Tangens, std::tanh(x));

// Products of S as numbers D, twice as wide.
template <class S, class D>
void multiply_wide(Warp& w, const Op& op) {
  const S *a = w.at<S>(op.a), *b = w.at<S>(op.b);
  if (op.c == kNone) return w.each(w.at<D>(op.d), [=](int l) { return static_cast<D>(static_cast<D>(a[l]) * b[l]); });
  const D* c = w.at<D>(op.c);
  w.each(w.at<D>(op.d), [=](int l) { return Add()(static_cast<D>(static_cast<D>(a[l]) * b[l]), c[l]); });
}

Run wide_of(const std::string& type) {
  if (type == "s16") return multiply_wide<int16_t, int32_t>;
  if (type == "u16") return multiply_wide<uint16_t, uint32_t>;
  if (type == "s32") return multiply_wide<int32_t, int64_t>;
  if (type == "u32") return multiply_wide<uint32_t, uint64_t>;
  return nullptr;
}

// With another rounding than to nearest, which op.kind names.
void with_rounding(Warp& w, const Op& op) {
  std::fesetround(op.kind);
  op.inner(w, op);
  std::fesetround(FE_TONEAREST);
}

constexpr int16_t kSaturate = 1, kRelu = 2;

template <class T>
void limited(Warp& w, const Op& op) {
  op.inner(w, op);
  T* d = w.at<T>(op.d);
  const int16_t flags = op.flags;
  w.each(d, [=](int l) {
    const auto limit = [=](auto x) {
      using V = decltype(x);
      if (flags & kSaturate) return x > V(0) ? (x < V(1) ? x : V(1)) : V(0);
      return x < V(0) ? V(0) : x;
    };
    return apply(limit, d[l]);
  });
}

template <class, class T>
struct Limited {
  static constexpr Run run = limited<T>;
};

Class class_of(const std::string& type) {
  if (type == "f32") return Class::kFloat;
  if (type == "f64") return Class::kDouble;
  return type[0] == 'f' || type[0] == 'b' ? Class::kHalf : Class::kInteger;
}

// Operands of one type, and what modifiers say of rounding and of limits.
void simple(Decoder& d, const Instruction& i, Op& op, Run run) {
  const std::string type = types(i).at(0);
  const int bytes = type_bytes(type);
  op.run = run;
  op.counted = class_of(type);
  op.d = d.destination(i.operands.at(0), bytes);
  uint32_t* places[] = {&op.a, &op.b, &op.c};
  for (size_t n = 1; n < i.operands.size(); ++n) *places[n - 1] = d.source(i.operands[n], bytes);
  if (run == nullptr) return;
  const bool floats = op.counted != Class::kInteger;
  if (i.has("sat") && !floats) d.unknown();
  if (i.has("sat") || i.has("relu")) {
    op.flags = i.has("sat") ? kSaturate : kRelu;
    op.inner = op.run;
    op.run = of_floats<Limited, void>(type, false);
  }
  const std::pair<const char*, int> ways[] = {{"rm", FE_DOWNWARD}, {"rp", FE_UPWARD}, {"rz", FE_TOWARDZERO}};
  for (const auto& [name, way] : ways) {
    if (!i.has(name)) continue;
    if (op.inner != nullptr || (type != "f32" && type != "f64")) d.unknown();
    op.inner = op.run;
    op.run = with_rounding;
    op.kind = static_cast<int16_t>(way);
  }
}

template <template <class, class> class Shape, class F>
void numbers(Decoder& d, const Instruction& i, Op& op) {
  simple(d, i, op, of_numbers<Shape, F>(types(i).at(0), i.has("ftz")));
}

template <class F>
void special(Decoder& d, const Instruction& i, Op& op) {
  simple(d, i, op, of_floats<Unary, F>(types(i).at(0), i.has("ftz")));
  op.counted = types(i).at(0) == "f64" ? Class::kDouble : Class::kSpecial;
}

// The divisions of floats are several instructions; they are counted as one, of the special unit.
void divide(Decoder& d, const Instruction& i, Op& op) {
  numbers<Binary, Divide>(d, i, op);
  if (types(i).at(0) == "f32") op.counted = Class::kSpecial;
}

template <bool kLess>
void extreme(Decoder& d, const Instruction& i, Op& op) {
  if (i.has("xorsign")) d.unknown();
  if (i.has("NaN"))
    numbers<Binary, Extreme<kLess, true>>(d, i, op);
  else
    numbers<Binary, Extreme<kLess, false>>(d, i, op);
}

void multiply(Decoder& d, const Instruction& i, Op& op) {
  const std::string type = types(i).at(0);
  const bool adds = i.opcode == "mad";
  if (i.has("wide")) {
    const int bytes = type_bytes(type);
    op.counted = Class::kInteger;
    op.run = wide_of(type);
    op.d = d.destination(i.operands.at(0), 2 * bytes);
    op.a = d.source(i.operands.at(1), bytes);
    op.b = d.source(i.operands.at(2), bytes);
    if (adds) op.c = d.source(i.operands.at(3), 2 * bytes);
  } else if (i.has("hi")) {
    simple(d, i, op, adds ? of_integers<Ternary, MultiplyHighAdd>(type) : of_integers<Binary, MultiplyHigh>(type));
  } else if (adds) {
    numbers<Ternary, MultiplyAdd>(d, i, op);
  } else {
    numbers<Binary, Multiply>(d, i, op);
  }
  if (i.has("cc")) d.unknown();
}

void add_or_subtract(Decoder& d, const Instruction& i, Op& op) {
  if (i.has("cc")) d.unknown();  // with a carry
  if (i.opcode == "add")
    numbers<Binary, Add>(d, i, op);
  else
    numbers<Binary, Subtract>(d, i, op);
}

}  // namespace

void add_arithmetic(DecodeTable& t) {
  t["add"] = t["sub"] = add_or_subtract;
  t["mul"] = t["mad"] = multiply;
  t["fma"] = numbers<Ternary, MultiplyAdd>;
  t["div"] = divide;
  t["rem"] = [](Decoder& d, const Instruction& i, Op& op) {
    simple(d, i, op, of_integers<Binary, Remainder>(types(i).at(0)));
  };
  t["min"] = extreme<true>;
  t["max"] = extreme<false>;
  t["abs"] = numbers<Unary, Absolute>;
  t["neg"] = numbers<Unary, Negate>;
  t["copysign"] = [](Decoder& d, const Instruction& i, Op& op) {
    simple(d, i, op, of_floats<Binary, CopySign>(types(i).at(0), false));
  };
  t["ex2"] = special<Exponential>;
  t["lg2"] = special<Logarithm>;
  t["rcp"] = special<Reciprocal>;
  t["sqrt"] = special<Root>;
  t["rsqrt"] = special<ReciprocalRoot>;
  t["sin"] = special<Sine>;
  t["cos"] = special<Cosine>;
  t["tanh"] = special<Tangens>;
}

}  // namespace vfi::ptx
