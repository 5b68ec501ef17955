// wmma.load, wmma.mma, wmma.store of 16 x 16 tiles. Where a lane holds which element is the device's own affair; here it is
// as in two mma.sync side by side, of which the second has the columns from 8 on.
#include "testing/ptx/decoder.h"
#include "testing/ptx/fragments.h"
#include "testing/ptx/memory.h"
#include "testing/ptx/numbers.h"

namespace vfi::ptx {
namespace {

constexpr int kTileAlignment = 32;

// Element n of lane l of factor A or B, of 16 or 32 bits, or of the sums.
Place place(char matrix, bool tf32, int l, int n) {
  if (matrix == 'a') return tf32 ? a32(l, n & 3) : a16(l, n & 7);
  const int right = matrix == 'b' ? (tf32 ? n >> 1 & 1 : n >> 2 & 1) : n >> 2 & 1;
  Place p = matrix == 'b' ? (tf32 ? b32(l, n & 1) : b16(l, n & 3)) : c32(l, n & 3);
  p.column += 8 * right;
  return p;
}

// Addresses of element n of each lane: op.a + op.value is the tile's, op.b from one row, or column, to the next.
void addresses(Warp& w, const Op& op, int n, Request& r) {
  const bool columns = (op.flags & 1) != 0, tf32 = (op.flags & 2) != 0;
  Request base;
  read_addresses(w, op, base);
  const int64_t step = static_cast<int32_t>(w.at<uint32_t>(op.b)[0]);
  for (int l = 0; l < kLanes; ++l) {
    const Place p = place(static_cast<char>(op.kind), tf32, l, n);
    const int64_t at = columns ? p.column * step + p.row : p.row * step + p.column;
    r.address[l] = base.address[l] + static_cast<uint64_t>(at * op.bytes);
  }
}

void check_tile(Warp& w, const Op& op) {
  if (w.active != kAllLanes) w.fault(op, __builtin_ctz(w.active), "wmma without all lanes");
  Request r;
  read_addresses(w, op, r);
  for (int l = 1; l < kLanes; ++l) {
    if (r.address[l] != r.address[0]) w.fault(op, l, "wmma: lanes have different addresses");
  }
  const int64_t step = static_cast<int32_t>(w.at<uint32_t>(op.b)[0]) * op.bytes;
  if (r.address[0] % kTileAlignment != 0) w.fault(op, 0, "misaligned: a tile of wmma that is not 32-byte aligned");
  if (step % 16 != 0) w.fault(op, 0, "wmma: a step that is no multiple of 16 bytes");
}

void load_tile(Warp& w, const Op& op) {
  check_tile(w, op);
  const int halves = op.bytes == 2 ? 2 : 1;
  for (int n = 0; n < op.count * halves; ++n) {
    Request r;
    addresses(w, op, n, r);
    locate_given(w, op, kAllLanes, op.bytes, Access::kRead, r, op.space);
    uint32_t* d = w.at<uint32_t>(op.list[n / halves]);
    for (int l = 0; l < kLanes; ++l) {
      uint32_t value = 0;
      std::memcpy(&value, r.at[l], op.bytes);
      d[l] = n % halves ? (d[l] & 0xffffu) | value << 16 : value;
    }
  }
}

void store_tile(Warp& w, const Op& op) {
  check_tile(w, op);
  for (int n = 0; n < op.count; ++n) {
    Request r;
    addresses(w, op, n, r);
    locate_given(w, op, kAllLanes, 4, Access::kWrite, r, op.space);
    for (int l = 0; l < kLanes; ++l) std::memcpy(r.at[l], &w.at<uint32_t>(op.list[n])[l], 4);
  }
}

// op.list: 8 of D, the elements of A, of B, 8 of C; op.kind: the factors; op.count: registers of a factor.
void multiply_tiles(Warp& w, const Op& op) {
  if (w.active != kAllLanes) w.fault(op, __builtin_ctz(w.active), "wmma without all lanes");
  const bool tf32 = op.kind == kTf32Factor;
  const int halves = tf32 ? 1 : 2, depth = tf32 ? 8 : 16;
  const uint32_t *a = op.list + 8, *b = a + op.count, *c = b + op.count;
  double A[16][16], B[16][16], C[16][16];
  for (int l = 0; l < kLanes; ++l) {
    for (int n = 0; n < op.count * halves; ++n) {
      const Place p = place('a', tf32, l, n), q = place('b', tf32, l, n);
      A[p.row][p.column] = factor(w.at<uint32_t>(a[n / halves])[l], op.kind, n % halves);
      B[q.row][q.column] = factor(w.at<uint32_t>(b[n / halves])[l], op.kind, n % halves);
    }
    for (int n = 0; n < 8; ++n) {
      const Place p = place('c', tf32, l, n);
      C[p.row][p.column] = w.at<float>(c[n])[l];
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < depth; ++k) {
      for (int n = 0; n < 16; ++n) C[row][n] += A[row][k] * B[k][n];
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int n = 0; n < 8; ++n) {
      const Place p = place('c', tf32, l, n);
      w.at<float>(op.list[n])[l] = static_cast<float>(C[p.row][p.column]);
    }
  }
}

void decode_tile(Decoder& d, const Instruction& i, Op& op, bool loads) {
  const auto tile = items(i.operands.at(loads ? 0 : 1));
  op.kind = static_cast<int16_t>(loads ? i.modifiers.at(1)[0] : 'd');
  const std::string type = types(i).at(0);
  op.bytes = static_cast<uint8_t>(type_bytes(type));
  op.flags = static_cast<int16_t>((i.has("col") ? 1 : 0) | (i.has("m16n16k8") ? 2 : 0));
  op.count = static_cast<uint8_t>(tile.size());
  op.run = loads ? load_tile : store_tile;
  op.space = space_of(i);
  op.counted = op.space == Space::kGlobal ? (loads ? Class::kLoadGlobal : Class::kStoreGlobal)
                                          : (loads ? Class::kLoadShared : Class::kStoreShared);
  op.list = d.list(tile, 4, loads);
  d.address(i.operands.at(loads ? 1 : 0), op);
  op.b = i.operands.size() > 2 ? d.source(i.operands[2], 4) : d.constant(16, 4);
  if (!loads && op.bytes != 4) d.unknown();
  d.kernel().shared_grain = std::min<int>(d.kernel().shared_grain, op.bytes);
  d.kernel().global_grain = std::min<int>(d.kernel().global_grain, op.bytes);
}

void decode_wmma(Decoder& d, const Instruction& i, Op& op) {
  const bool k8 = i.has("m16n16k8");
  if (!k8 && !i.has("m16n16k16")) d.unknown();
  if (i.modifiers.at(0) == "load") return decode_tile(d, i, op, true);
  if (i.modifiers.at(0) == "store") return decode_tile(d, i, op, false);
  const auto a = items(i.operands.at(1));
  const auto t = types(i);
  if (items(i.operands.at(0)).size() != 8 || a.size() != items(i.operands.at(2)).size()) d.unknown();
  op.counted = Class::kTensor;
  op.run = multiply_tiles;
  op.kind = k8 ? kTf32Factor : i.has("bf16") ? kBHalfFactor : kHalfFactor;
  op.count = static_cast<uint8_t>(a.size());
  op.value = 16 * 16 * (k8 ? 8 : 16);
  std::vector<uint32_t> offsets;
  for (int n = 0; n < 4; ++n) {
    for (const Operand& o : items(i.operands.at(n))) offsets.push_back(n == 0 ? d.destination(o, 4) : d.source(o, 4));
  }
  op.list = d.keep(std::move(offsets));
}

}  // namespace

void add_wmma(DecodeTable& t) { t["wmma"] = decode_wmma; }

}  // namespace vfi::ptx
