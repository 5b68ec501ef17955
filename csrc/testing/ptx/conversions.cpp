// cvt, in two steps: any type to a wide number, the wide number to any type.
#include "testing/ptx/decoder.h"
#include "testing/ptx/numbers.h"

namespace vfi::ptx {
namespace {

enum class Type : int8_t { kU8, kS8, kU16, kS16, kU32, kS32, kU64, kS64, kF16, kBF16, kF32, kF64, kTF32 };

const std::map<std::string, Type>& type_table() {
  static const std::map<std::string, Type> table = {
      {"u8", Type::kU8},   {"b8", Type::kU8},     {"s8", Type::kS8},   {"u16", Type::kU16},   {"b16", Type::kU16},
      {"s16", Type::kS16}, {"u32", Type::kU32},   {"b32", Type::kU32}, {"s32", Type::kS32},   {"u64", Type::kU64},
      {"b64", Type::kU64}, {"s64", Type::kS64},   {"f16", Type::kF16}, {"bf16", Type::kBF16}, {"f32", Type::kF32},
      {"f64", Type::kF64}, {"tf32", Type::kTF32},
  };
  return table;
}
bool is_float(Type t) { return t >= Type::kF16; }

constexpr int16_t kSaturate = 1, kFlush = 2, kRelu = 4;
enum Way : int16_t { kNearest, kDown, kUp, kZero, kAway };  // and, of floats as floats, to whole numbers or not

// What an Op of cvt needs besides its fields: op.kind holds the way, op.flags the limits, op.value the types.
struct Types {
  Type to, from;
  bool whole;  // to a whole number, as a float
};
Types types_of(const Op& op) {
  return {static_cast<Type>(op.value & 0xff), static_cast<Type>(op.value >> 8 & 0xff), (op.value >> 16 & 1) != 0};
}

struct Wide {
  double floats[kLanes];
  int64_t whole[kLanes];
};

// Elements S in the low bytes of registers of `bytes`.
template <class S, class F>
void read(const unsigned char* from, int bytes, F put) {
  const auto all = [&](auto r) {
    using R = decltype(r);
    if constexpr (sizeof(R) >= sizeof(S)) {
      const R* registers = reinterpret_cast<const R*>(from);
      for (int l = 0; l < kLanes; ++l) {
        S s;
        std::memcpy(&s, &registers[l], sizeof(S));
        put(l, s);
      }
    }
  };
  if (bytes == 2) all(uint16_t());
  if (bytes == 4) all(uint32_t());
  if (bytes == 8) all(uint64_t());
}

void read_any(const unsigned char* from, int bytes, Type type, Wide& wide) {
  const auto whole = [&](int l, auto s) { wide.whole[l] = static_cast<int64_t>(s); };
  const auto floats = [&](int l, auto s) { wide.floats[l] = widen(s); };
  switch (type) {
    case Type::kU8: return read<uint8_t>(from, bytes, whole);
    case Type::kS8: return read<int8_t>(from, bytes, whole);
    case Type::kU16: return read<uint16_t>(from, bytes, whole);
    case Type::kS16: return read<int16_t>(from, bytes, whole);
    case Type::kU32: return read<uint32_t>(from, bytes, whole);
    case Type::kS32: return read<int32_t>(from, bytes, whole);
    case Type::kU64:
    case Type::kS64: return read<int64_t>(from, bytes, whole);
    case Type::kF16: return read<Half>(from, bytes, floats);
    case Type::kBF16: return read<BHalf>(from, bytes, floats);
    case Type::kF32:
    case Type::kTF32: return read<float>(from, bytes, floats);
    case Type::kF64: return read<double>(from, bytes, floats);
  }
}

template <class T, class F>
void write(Warp& w, const Op& op, F value) {  // extended to the register as T is
  const auto extended = [](T t) {
    if constexpr (std::is_signed_v<T>)
      return static_cast<int64_t>(t);
    else
      return static_cast<uint64_t>(t);
  };
  if (op.wide == 2) w.each(w.at<uint16_t>(op.d), [=](int l) { return static_cast<uint16_t>(extended(value(l))); });
  if (op.wide == 4) w.each(w.at<uint32_t>(op.d), [=](int l) { return static_cast<uint32_t>(extended(value(l))); });
  if (op.wide == 8) w.each(w.at<uint64_t>(op.d), [=](int l) { return static_cast<uint64_t>(extended(value(l))); });
}

double rounded(double x, int way) {
  switch (way) {
    case kDown: return std::floor(x);
    case kUp: return std::ceil(x);
    case kZero: return std::trunc(x);
    default: return std::nearbyint(x);
  }
}

template <class T>
T clamped(double x) {  // NaN is 0
  constexpr double low = static_cast<double>(std::numeric_limits<T>::min());
  constexpr double beyond = 2.0 * (std::numeric_limits<T>::max() / 2 + 1);
  return x >= beyond ? std::numeric_limits<T>::max()
         : x > low   ? static_cast<T>(x)
         : x <= low  ? std::numeric_limits<T>::min()
                     : T(0);
}

// A float32 of the double x, rounded another way than to nearest.
float directed(double x, int way) {
  float f = static_cast<float>(x);
  const double error = static_cast<double>(f) - x;
  const bool above = error > 0, below = error < 0;
  if (way == kDown || (way == kZero && x > 0)) return above ? std::nextafter(f, -INFINITY) : f;
  if (way == kUp || (way == kZero && x < 0)) return below ? std::nextafter(f, INFINITY) : f;
  return f;
}

float tf32(float x, int way) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if (!std::isfinite(x)) return x;
  if (way == kAway) bits += 0x1000;
  if (way == kNearest) bits += 0xfff + (bits >> 13 & 1);
  return std::bit_cast<float>(bits & 0xffffe000u);
}

double limited(double x, int flags) {
  if (flags & kSaturate) return x > 0 ? std::min(x, 1.0) : 0;
  if (flags & kRelu) return x < 0 ? 0 : x;
  return x;
}

template <class T>
T small_float(double x, int way) {  // Half or BHalf
  if (way != kZero) return narrow<T>(x);
  const T t = narrow<T>(x);
  if (std::fabs(widen(t)) > std::fabs(x)) return {static_cast<uint16_t>(t.bits - 1)};
  return t;
}

void write_float(Warp& w, const Op& op, Type to, const double (&x)[kLanes]) {
  const int way = op.kind;
  if (to == Type::kF64)
    w.each(w.at<double>(op.d), [&](int l) { return x[l]; });
  else if (to == Type::kTF32)
    w.each(w.at<float>(op.d), [&](int l) { return tf32(static_cast<float>(x[l]), way); });
  else if (to == Type::kF32 && way == kNearest)
    w.each(w.at<float>(op.d), [&](int l) { return static_cast<float>(x[l]); });
  else if (to == Type::kF32)
    w.each(w.at<float>(op.d), [&](int l) { return directed(x[l], way); });
  else if (to == Type::kF16)
    w.each(w.at<Half>(op.d), [&](int l) { return small_float<Half>(x[l], way); });
  else
    w.each(w.at<BHalf>(op.d), [&](int l) { return small_float<BHalf>(x[l], way); });
}

template <class T>
void write_whole(Warp& w, const Op& op, const Wide& wide, bool from_float) {
  if (from_float) {
    write<T>(w, op, [&](int l) { return clamped<T>(wide.floats[l]); });
  } else if (op.flags & kSaturate) {
    write<T>(w, op, [&](int l) {
      const auto low = static_cast<__int128>(std::numeric_limits<T>::min()),
                 high = static_cast<__int128>(std::numeric_limits<T>::max());
      const auto x = static_cast<__int128>(wide.whole[l]);
      return static_cast<T>(x < low ? low : x > high ? high : x);
    });
  } else {
    write<T>(w, op, [&](int l) { return static_cast<T>(wide.whole[l]); });
  }
}

void convert(Warp& w, const Op& op) {
  const Types t = types_of(op);
  Wide wide;
  read_any(w.at<unsigned char>(op.a), op.bytes, t.from, wide);
  const bool from_float = is_float(t.from);
  if (is_float(t.to) && !from_float) {
    const bool is_unsigned = t.from == Type::kU64;
    if (t.to == Type::kF32 && op.kind == kNearest) {  // 64 bits are rounded once
      return w.each(w.at<float>(op.d), [&](int l) {
        return is_unsigned ? static_cast<float>(static_cast<uint64_t>(wide.whole[l]))
                           : static_cast<float>(wide.whole[l]);
      });
    }
    for (int l = 0; l < kLanes; ++l) {
      wide.floats[l] =
          is_unsigned ? static_cast<double>(static_cast<uint64_t>(wide.whole[l])) : static_cast<double>(wide.whole[l]);
    }
  }
  if (from_float && (t.whole || !is_float(t.to))) {
    for (double& x : wide.floats) x = rounded(x, op.kind);
  }
  if (is_float(t.to)) {
    if (op.flags) {
      for (double& x : wide.floats) x = limited(x, op.flags);
    }
    return write_float(w, op, t.to, wide.floats);
  }
  switch (t.to) {
    case Type::kU8: return write_whole<uint8_t>(w, op, wide, from_float);
    case Type::kS8: return write_whole<int8_t>(w, op, wide, from_float);
    case Type::kU16: return write_whole<uint16_t>(w, op, wide, from_float);
    case Type::kS16: return write_whole<int16_t>(w, op, wide, from_float);
    case Type::kU32: return write_whole<uint32_t>(w, op, wide, from_float);
    case Type::kS32: return write_whole<int32_t>(w, op, wide, from_float);
    case Type::kU64: return write_whole<uint64_t>(w, op, wide, from_float);
    default: return write_whole<int64_t>(w, op, wide, from_float);
  }
}

// cvt.rn.f16x2.f32 d, a, b: a is the high half.
template <class T>
void convert_pair(Warp& w, const Op& op) {
  const float *a = w.at<float>(op.a), *b = w.at<float>(op.b);
  w.each(w.at<Pair<T>>(op.d), [=](int l) {
    return Pair<T>{small_float<T>(limited(b[l], op.flags), op.kind), small_float<T>(limited(a[l], op.flags), op.kind)};
  });
}

void decode_cvt(Decoder& d, const Instruction& i, Op& op) {
  const auto t = types(i);
  op.counted = Class::kConvert;
  const std::pair<const char*, Way> ways[] = {
      {"rn", kNearest}, {"rm", kDown}, {"rp", kUp}, {"rz", kZero}, {"rna", kAway}};
  bool whole = false;
  for (const auto& [name, way] : ways) {
    const std::string to_whole = std::string(name) + "i";
    if (i.has(name) || i.has(to_whole)) op.kind = way;
    whole = whole || i.has(to_whole);
  }
  op.flags = static_cast<int16_t>((i.has("sat") ? kSaturate : 0) | (i.has("relu") ? kRelu : 0));
  if (t.at(0) == "f16x2" || t.at(0) == "bf16x2") {
    if (t.at(1) != "f32") d.unknown();
    op.run = t[0] == "f16x2" ? convert_pair<Half> : convert_pair<BHalf>;
    op.d = d.destination(i.operands.at(0), 4);
    op.a = d.source(i.operands.at(1), 4);
    op.b = d.source(i.operands.at(2), 4);
    return;
  }
  const Type to = type_table().at(t.at(0)), from = type_table().at(t.at(1));
  op.run = convert;
  op.value = static_cast<int64_t>(to) | static_cast<int64_t>(from) << 8 | static_cast<int64_t>(whole) << 16;
  const int to_width = std::max(d.width(i.operands.at(0)), 0), from_width = d.width(i.operands.at(1));
  op.wide = static_cast<uint8_t>(to_width);
  op.bytes = static_cast<uint8_t>(from_width > 0 ? from_width : std::max(type_bytes(t[1]), 2));
  if (is_float(to) && to_width != type_bytes(t[0])) d.unknown();
  op.d = d.destination(i.operands[0], to_width);
  op.a = d.source(i.operands[1], op.bytes);
}

}  // namespace

void add_conversions(DecodeTable& t) { t["cvt"] = decode_cvt; }

}  // namespace vfi::ptx
