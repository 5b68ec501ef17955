// setp, set, selp, slct, testp.
#include "testing/ptx/decoder.h"
#include "testing/ptx/lanes.h"

namespace vfi::ptx {
namespace {

// Of a less than, equal to, greater than b, or neither: in which cases it is true, a bit for each.
constexpr int kLess = 1, kEqual = 2, kGreater = 4, kUnordered = 8;

int truths(const std::string& name) {
  static const std::map<std::string, int> table = {
      {"eq", kEqual},
      {"ne", kLess | kGreater},
      {"lt", kLess},
      {"le", kLess | kEqual},
      {"gt", kGreater},
      {"ge", kGreater | kEqual},
      {"lo", kLess},
      {"ls", kLess | kEqual},
      {"hi", kGreater},
      {"hs", kGreater | kEqual},
      {"equ", kEqual | kUnordered},
      {"neu", kLess | kGreater | kUnordered},
      {"ltu", kLess | kUnordered},
      {"leu", kLess | kEqual | kUnordered},
      {"gtu", kGreater | kUnordered},
      {"geu", kGreater | kEqual | kUnordered},
      {"num", kLess | kEqual | kGreater},
      {"nan", kUnordered},
  };
  const auto found = table.find(name);
  return found == table.end() ? -1 : found->second;
}

// 32 bytes of 0 or 1 as bits.
uint32_t packed(const uint8_t (&truth)[kLanes]) {
  uint32_t bits = 0;
  for (int n = 0; n < kLanes / 8; ++n) {
    uint64_t eight;
    std::memcpy(&eight, truth + 8 * n, 8);
    bits |= static_cast<uint32_t>(eight * 0x0102040810204080ull >> 56) << (8 * n);
  }
  return bits;
}

template <class T>
auto number(T x) {
  if constexpr (kIsFloat<T>)
    return widen(x);
  else
    return x;
}

template <class T>
uint32_t compare(const T* a, const T* b, int truth) {
  uint8_t out[kLanes];
  const auto fill = [&](auto f) {
    for (int l = 0; l < kLanes; ++l) out[l] = f(number(a[l]), number(b[l]));
  };
  switch (truth) {
    case kEqual: fill([](auto x, auto y) { return x == y; }); break;
    case kLess | kGreater | kUnordered: fill([](auto x, auto y) { return x != y; }); break;
    case kLess: fill([](auto x, auto y) { return x < y; }); break;
    case kLess | kEqual: fill([](auto x, auto y) { return x <= y; }); break;
    case kGreater: fill([](auto x, auto y) { return x > y; }); break;
    case kGreater | kEqual: fill([](auto x, auto y) { return x >= y; }); break;
    default:
      fill([=](auto x, auto y) {
        return truth & (x < y ? kLess : x == y ? kEqual : x > y ? kGreater : kUnordered) ? 1 : 0;
      });
  }
  return packed(out);
}

// op.flags: how the result is joined with predicate op.c: 0 not, 1 and, 2 or, 3 xor; 4 more: with its opposite.
uint32_t joined(Warp& w, const Op& op, uint32_t truth) {
  if (op.flags == 0) return truth;
  const uint32_t with = w.predicate(op.c) ^ (op.flags & 4 ? kAllLanes : 0);
  const int way = op.flags & 3;
  return way == 1 ? truth & with : way == 2 ? truth | with : truth ^ with;
}

void put(Warp& w, uint32_t offset, uint32_t truth) {
  uint32_t& d = w.predicate(offset);
  d = (d & ~w.active) | (truth & w.active);
}

template <class T>
void set_predicate(Warp& w, const Op& op) {
  const uint32_t truth = compare(w.at<T>(op.a), w.at<T>(op.b), op.kind);
  const uint32_t first = joined(w, op, truth), second = op.list == nullptr ? 0 : joined(w, op, ~truth);
  put(w, op.d, first);
  if (op.list != nullptr) put(w, op.list[0], second);
}

// The halves of both operands: a's low and high ones, b's.
template <class T>
void split_pairs(Warp& w, const Op& op, T (&halves)[4][kLanes]) {
  const Pair<T>*a = w.at<Pair<T>>(op.a), *b = w.at<Pair<T>>(op.b);
  for (int l = 0; l < kLanes; ++l) {
    halves[0][l] = a[l].x;
    halves[1][l] = a[l].y;
    halves[2][l] = b[l].x;
    halves[3][l] = b[l].y;
  }
}

// Of pairs: a predicate for each half.
template <class T>
void set_predicates(Warp& w, const Op& op) {
  T halves[4][kLanes];
  split_pairs(w, op, halves);
  put(w, op.d, joined(w, op, compare(halves[0], halves[2], op.kind)));
  if (op.list != nullptr) put(w, op.list[0], joined(w, op, compare(halves[1], halves[3], op.kind)));
}

template <class, class T>
struct Setter {
  static constexpr Run run = set_predicate<T>;
};
template <class F, class T>
struct Setter<F, Pair<T>> {
  static constexpr Run run = set_predicates<T>;
};

void decode_setp(Decoder& d, const Instruction& i, Op& op) {
  const std::string type = types(i).at(0);
  const int bytes = type_bytes(type), truth = truths(i.modifiers.at(0));
  if (truth < 0) d.unknown();
  op.kind = static_cast<int16_t>(truth);
  // Of integers and equal numbers "ne" is the opposite of "eq", of a NaN it is not.
  if (truth == (kLess | kGreater) && type[0] != 'f' && type[0] != 'b') op.kind |= kUnordered;
  if (truth == (kLess | kGreater) && type[0] == 'b' && type.rfind("bf", 0) != 0) op.kind |= kUnordered;
  op.counted = Class::kCompare;
  op.run = of_numbers<Setter, void>(type, false);
  const Operand& to = i.operands.at(0);
  const bool pair = to.kind == Operand::Kind::kPair;
  op.d = d.predicate(pair ? to.items.at(0) : to);
  if (pair) {
    const Operand& second = to.items.at(1);
    op.list = d.keep({second.kind == Operand::Kind::kSink ? d.destination(second, 0) : d.predicate(second)});
  }
  op.a = d.source(i.operands.at(1), bytes);
  op.b = d.source(i.operands.at(2), bytes);
  if (i.operands.size() > 3) {
    op.c = d.predicate(i.operands[3]);
    op.flags = static_cast<int16_t>((i.has("and") ? 1 : i.has("or") ? 2 : 3) + (i.operands[3].negated ? 4 : 0));
  }
}

// The result of a comparison as a number: all bits or none, or 1 or 0 of a float.
template <class D, class T>
void set_number(Warp& w, const Op& op) {
  const uint32_t truth = joined(w, op, compare(w.at<T>(op.a), w.at<T>(op.b), op.kind));
  const D yes = static_cast<D>(op.value);
  w.each(w.at<D>(op.d), [=](int l) { return truth >> l & 1 ? yes : D(0); });
}
template <class T>
void set_pair(Warp& w, const Op& op) {
  T halves[4][kLanes];
  split_pairs(w, op, halves);
  const uint32_t low = compare(halves[0], halves[2], op.kind), high = compare(halves[1], halves[3], op.kind);
  const uint32_t yes = static_cast<uint32_t>(op.value);
  w.each(w.at<uint32_t>(op.d),
         [=](int l) { return (low >> l & 1 ? yes & 0xffffu : 0) | (high >> l & 1 ? yes & 0xffff0000u : 0); });
}

struct Bits16 {
  using Type = uint16_t;
};
struct Bits32 {
  using Type = uint32_t;
};
template <class D, class T>
struct Numeric {
  static constexpr Run run = set_number<typename D::Type, T>;
};
template <class D, class T>
struct Numeric<D, Pair<T>> {
  static constexpr Run run = set_pair<T>;
};

void decode_set(Decoder& d, const Instruction& i, Op& op) {
  const auto t = types(i);
  const std::string to = t.at(0), from = t.at(1);
  const int truth = truths(i.modifiers.at(0));
  if (truth < 0 || i.operands.size() != 3) d.unknown();
  op.kind = static_cast<int16_t>(truth);
  op.counted = Class::kCompare;
  const std::map<std::string, int64_t> ones = {
      {"f32", 0x3f800000}, {"f16", 0x3c00}, {"bf16", 0x3f80}, {"f16x2", 0x3c003c00}, {"bf16x2", 0x3f803f80}};
  op.value = ones.count(to) ? ones.at(to) : -1;
  op.d = d.destination(i.operands[0], type_bytes(to));
  op.a = d.source(i.operands[1], type_bytes(from));
  op.b = d.source(i.operands[2], type_bytes(from));
  op.run = type_bytes(to) == 4 ? of_numbers<Numeric, Bits32>(from, false) : of_numbers<Numeric, Bits16>(from, false);
}

template <class T>
void select(Warp& w, const Op& op) {
  const T *a = w.at<T>(op.a), *b = w.at<T>(op.b);
  const uint32_t truth = w.predicate(op.c) ^ (op.flags ? kAllLanes : 0);
  w.each(w.at<T>(op.d), [=](int l) { return truth >> l & 1 ? a[l] : b[l]; });
}

void decode_selp(Decoder& d, const Instruction& i, Op& op) {
  const int bytes = type_bytes(types(i).at(0));
  op.counted = Class::kCompare;
  op.run = bytes == 2 ? select<uint16_t> : bytes == 4 ? select<uint32_t> : select<uint64_t>;
  op.d = d.destination(i.operands.at(0), bytes);
  op.a = d.source(i.operands.at(1), bytes);
  op.b = d.source(i.operands.at(2), bytes);
  op.c = d.predicate(i.operands.at(3));
  op.flags = i.operands[3].negated;
}

// Floats of a kind: finite, infinite, number, notanumber, normal, subnormal.
template <class T>
void test(Warp& w, const Op& op) {
  const T* a = w.at<T>(op.a);
  uint8_t out[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    const T x = a[l];
    const bool is[] = {std::isfinite(x), std::isinf(x),    !std::isnan(x),
                       std::isnan(x),    std::isnormal(x), std::fpclassify(x) == FP_SUBNORMAL};
    out[l] = is[op.kind];
  }
  put(w, op.d, packed(out));
}

void decode_testp(Decoder& d, const Instruction& i, Op& op) {
  const char* kinds[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  const std::string type = types(i).at(0);
  for (int16_t n = 0; n < 6; ++n) op.kind = i.has(kinds[n]) ? n : op.kind;
  op.counted = Class::kCompare;
  op.run = type == "f64" ? test<double> : test<float>;
  op.d = d.predicate(i.operands.at(0));
  op.a = d.source(i.operands.at(1), type_bytes(type));
}

}  // namespace

void add_compares(DecodeTable& t) {
  t["setp"] = decode_setp;
  t["set"] = decode_set;
  t["selp"] = decode_selp;
  t["testp"] = decode_testp;
}

}  // namespace vfi::ptx
