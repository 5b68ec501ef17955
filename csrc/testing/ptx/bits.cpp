// Moves, logic on bits and on predicates, shifts, fields, counts of bits, permutations of bytes.
#include "testing/ptx/decoder.h"
#include "testing/ptx/lanes.h"

namespace vfi::ptx {
namespace {

struct And {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct Or {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};
struct Not {
  template <class T>
  T operator()(T a) const {
    return static_cast<T>(~a);
  }
};
struct LogicalNot {
  template <class T>
  T operator()(T a) const {
    return a == 0;
  }
};
struct Same {
  template <class T>
  T operator()(T a) const {
    return a;
  }
};
struct Reverse {
  template <class T>
  T operator()(T a) const {
    T out = 0;
    for (size_t n = 0; n < 8 * sizeof(T); ++n) out |= static_cast<T>((a >> n & 1) << (8 * sizeof(T) - 1 - n));
    return out;
  }
};

template <class T>
constexpr uint32_t kBits = 8 * sizeof(T);

// Shifts by a 32-bit number; by the width or more, nothing is left but the sign.
template <bool kLeft, class T>
void shift(Warp& w, const Op& op) {
  const T* a = w.at<T>(op.a);
  const uint32_t* by = w.at<uint32_t>(op.b);
  w.each(w.at<T>(op.d), [=](int l) {
    const T all = !kLeft && std::is_signed_v<T> && a[l] < 0 ? static_cast<T>(-1) : T(0);
    const uint32_t n = by[l] < kBits<T> ? by[l] : 0;
    const T moved = static_cast<T>(kLeft ? std::make_unsigned_t<T>(a[l]) << n : a[l] >> n);
    return by[l] < kBits<T> ? moved : all;
  });
}
template <class, class T>
struct Left {
  static constexpr Run run = shift<true, T>;
};
template <class, class T>
struct Right {
  static constexpr Run run = shift<false, T>;
};

// op.kind: 0 popc, 1 clz, 2 bfind, 3 bfind.shiftamt. The result has 32 bits.
template <class T>
void count_bits(Warp& w, const Op& op) {
  const T* a = w.at<T>(op.a);
  const int kind = op.kind;
  w.each(w.at<uint32_t>(op.d), [=](int l) -> uint32_t {
    using U = std::make_unsigned_t<T>;
    const U bits = static_cast<U>(kind >= 2 && std::is_signed_v<T> && a[l] < 0 ? static_cast<T>(~a[l]) : a[l]);
    if (kind == 0) return static_cast<uint32_t>(std::popcount(bits));
    const auto zeros = static_cast<uint32_t>(std::countl_zero(bits));
    if (kind == 1) return zeros;
    return bits == 0 ? 0xffffffffu : kind == 2 ? kBits<T> - 1 - zeros : zeros;
  });
}
template <class, class T>
struct Count {
  static constexpr Run run = count_bits<T>;
};

template <class T>
void extract(Warp& w, const Op& op) {
  const T* a = w.at<T>(op.a);
  const uint32_t *position = w.at<uint32_t>(op.b), *length = w.at<uint32_t>(op.c);
  w.each(w.at<T>(op.d), [=](int l) -> T {
    const uint32_t at = position[l] & 0xff, n = length[l] & 0xff;
    if (n == 0) return 0;
    using U = std::make_unsigned_t<T>;
    const uint32_t top = std::min(at + n - 1, kBits<T> - 1);  // where the sign of the field is
    const bool sign = std::is_signed_v<T> && (static_cast<U>(a[l]) >> top & 1);
    U field = at < kBits<T> ? static_cast<U>(a[l]) >> at : 0;
    const U below = n < kBits<T> ? (U(1) << n) - 1 : ~U(0);
    const uint32_t real = at < kBits<T> ? std::min(n, kBits<T> - at) : 0;
    const U known = real < kBits<T> ? (U(1) << real) - 1 : ~U(0);
    field &= known;
    return static_cast<T>(sign ? field | ~known | ~below : field & below);
  });
}
template <class, class T>
struct Extract {
  static constexpr Run run = extract<T>;
};

template <class T>
void insert(Warp& w, const Op& op) {
  const T *a = w.at<T>(op.a), *b = w.at<T>(op.b);
  const uint32_t *position = w.at<uint32_t>(op.c), *length = w.at<uint32_t>(op.list[0]);
  w.each(w.at<T>(op.d), [=](int l) -> T {
    const uint32_t at = position[l] & 0xff, n = length[l] & 0xff;
    if (at >= kBits<T> || n == 0) return b[l];
    const T field = static_cast<T>((n < kBits<T> ? (T(1) << n) - 1 : ~T(0)) << at);
    return static_cast<T>((b[l] & ~field) | (a[l] << at & field));
  });
}

void look_up3(Warp& w, const Op& op) {
  const uint32_t *a = w.at<uint32_t>(op.a), *b = w.at<uint32_t>(op.b), *c = w.at<uint32_t>(op.c);
  const int table = op.kind;
  w.each(w.at<uint32_t>(op.d), [=](int l) {
    uint32_t out = 0;
    for (int n = 0; n < 8; ++n) {
      if (table >> n & 1) out |= (n & 4 ? a[l] : ~a[l]) & (n & 2 ? b[l] : ~b[l]) & (n & 1 ? c[l] : ~c[l]);
    }
    return out;
  });
}

void permute(Warp& w, const Op& op) {
  const uint32_t *a = w.at<uint32_t>(op.a), *b = w.at<uint32_t>(op.b), *selector = w.at<uint32_t>(op.c);
  w.each(w.at<uint32_t>(op.d), [=](int l) {
    const uint64_t both = a[l] | uint64_t{b[l]} << 32;
    uint32_t out = 0;
    for (int n = 0; n < 4; ++n) {
      const uint32_t choice = selector[l] >> (4 * n) & 15, byte = both >> (8 * (choice & 7)) & 0xff;
      out |= (choice & 8 ? (byte & 0x80 ? 0xffu : 0u) : byte) << (8 * n);
    }
    return out;
  });
}

// The high or the low half of two words that are shifted as one; by 32 at most, or by as much modulo 32.
void funnel(Warp& w, const Op& op) {
  const uint32_t *low = w.at<uint32_t>(op.a), *high = w.at<uint32_t>(op.b), *by = w.at<uint32_t>(op.c);
  const bool left = op.kind != 0, wraps = op.flags != 0;
  w.each(w.at<uint32_t>(op.d), [=](int l) {
    const uint32_t n = wraps ? by[l] & 31 : std::min(by[l], 32u);
    const uint64_t both = low[l] | uint64_t{high[l]} << 32;
    return static_cast<uint32_t>(left ? (both << n) >> 32 : both >> n);
  });
}

// Predicates: op.kind 0 and, 1 or, 2 xor, 3 not, 4 move.
void logic(Warp& w, const Op& op) {
  const uint32_t a = w.predicate(op.a), b = op.b == kNone ? 0 : w.predicate(op.b);
  const uint32_t values[] = {a & b, a | b, a ^ b, ~a, a};
  uint32_t& d = w.predicate(op.d);
  d = (d & ~w.active) | (values[op.kind] & w.active);
}

// {a, b} from and to a register of all their bits.
void pack(Warp& w, const Op& op) {
  w.each_active([&](int l) {
    for (int n = 0; n < op.count; ++n) {
      std::memcpy(w.at<char>(op.d) + l * op.wide + n * op.bytes, w.at<char>(op.list[n]) + l * op.bytes, op.bytes);
    }
  });
}
void unpack(Warp& w, const Op& op) {
  w.each_active([&](int l) {
    for (int n = 0; n < op.count; ++n) {
      std::memcpy(w.at<char>(op.list[n]) + l * op.bytes, w.at<char>(op.a) + l * op.wide + n * op.bytes, op.bytes);
    }
  });
}

bool predicates(Decoder& d, const Instruction& i, Op& op, int kind) {
  if (types(i).at(0) != "pred") return false;
  op.run = logic;
  op.kind = static_cast<int16_t>(kind);
  op.counted = Class::kCompare;
  op.d = d.predicate(i.operands.at(0));
  op.a = d.predicate(i.operands.at(1));
  if (i.operands.size() > 2) op.b = d.predicate(i.operands[2]);
  return true;
}

// As many operands of the type as `same` says, the rest of 32 bits.
void whole(Decoder& d, const Instruction& i, Op& op, Run run, size_t same, int result_bytes = 0) {
  const int bytes = type_bytes(types(i).at(0));
  op.run = run;
  op.counted = Class::kInteger;
  op.d = d.destination(i.operands.at(0), result_bytes ? result_bytes : bytes);
  uint32_t* places[] = {&op.a, &op.b, &op.c};
  for (size_t n = 1; n < i.operands.size() && n <= 3; ++n)
    *places[n - 1] = d.source(i.operands[n], n <= same ? bytes : 4);
}

template <template <class, class> class Shape, class F, int kPredicateKind>
void logical(Decoder& d, const Instruction& i, Op& op) {
  if (!predicates(d, i, op, kPredicateKind)) whole(d, i, op, of_integers<Shape, F>(types(i).at(0)), 3);
}

template <template <class, class> class Shape, int kSame, int kResult>
void shaped(Decoder& d, const Instruction& i, Op& op) {
  whole(d, i, op, of_integers<Shape, void>(types(i).at(0)), kSame, kResult);
}

void move(Decoder& d, const Instruction& i, Op& op) {
  const Operand &to = i.operands.at(0), &from = i.operands.at(1);
  const bool packs = from.kind == Operand::Kind::kVector, unpacks = to.kind == Operand::Kind::kVector;
  if (!packs && !unpacks) {
    if (predicates(d, i, op, 4)) return;
    const std::string type = types(i).at(0);
    const int bytes = type_bytes(type);
    whole(d, i, op, of_integers<Unary, Same>(bytes == 2 ? "b16" : bytes == 4 ? "b32" : "b64"), 1);
  } else {
    op.wide = static_cast<uint8_t>(type_bytes(types(i).at(0)));
    op.count = static_cast<uint8_t>((packs ? from : to).items.size());
    op.bytes = static_cast<uint8_t>(op.wide / op.count);
    op.run = packs ? pack : unpack;
    if (packs)
      op.d = d.destination(to, op.wide);
    else
      op.a = d.source(from, op.wide);
    op.list = d.list((packs ? from : to).items, op.bytes, unpacks);
  }
  op.counted = Class::kMove;
}

}  // namespace

void add_bits(DecodeTable& t) {
  t["mov"] = move;
  t["and"] = logical<Binary, And, 0>;
  t["or"] = logical<Binary, Or, 1>;
  t["xor"] = logical<Binary, Xor, 2>;
  t["not"] = logical<Unary, Not, 3>;
  t["cnot"] = [](Decoder& d, const Instruction& i, Op& op) {
    whole(d, i, op, of_integers<Unary, LogicalNot>(types(i).at(0)), 1);
  };
  t["brev"] = [](Decoder& d, const Instruction& i, Op& op) {
    whole(d, i, op, of_integers<Unary, Reverse>(types(i).at(0)), 1);
  };
  t["shl"] = shaped<Left, 1, 0>;
  t["shr"] = shaped<Right, 1, 0>;
  t["bfe"] = shaped<Extract, 1, 0>;
  t["popc"] = t["clz"] = t["bfind"] = [](Decoder& d, const Instruction& i, Op& op) {
    shaped<Count, 1, 4>(d, i, op);
    op.kind = i.opcode == "popc" ? 0 : i.opcode == "clz" ? 1 : i.has("shiftamt") ? 3 : 2;
  };
  t["bfi"] = [](Decoder& d, const Instruction& i, Op& op) {
    whole(d, i, op, types(i).at(0) == "b64" ? insert<uint64_t> : insert<uint32_t>, 2);
    op.list = d.list({i.operands.at(4)}, 4, false);
  };
  t["lop3"] = [](Decoder& d, const Instruction& i, Op& op) {
    whole(d, i, op, look_up3, 3);
    op.kind = static_cast<int16_t>(i.operands.at(4).value);
  };
  t["prmt"] = [](Decoder& d, const Instruction& i, Op& op) {
    if (i.modifiers.size() != 1) d.unknown();
    whole(d, i, op, permute, 3);
  };
  t["shf"] = [](Decoder& d, const Instruction& i, Op& op) {
    whole(d, i, op, funnel, 3);
    op.kind = i.has("l");
    op.flags = i.has("wrap");
  };
}

}  // namespace vfi::ptx
