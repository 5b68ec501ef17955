// ldmatrix, stmatrix, movmatrix and mma.sync.
#include <cstdlib>

#include "testing/ptx/decoder.h"
#include "testing/ptx/fragments.h"
#include "testing/ptx/memory.h"
#include "testing/ptx/numbers.h"

namespace vfi::ptx {
namespace {

void need_all_lanes(Warp& w, const Op& op) {
  if (w.active != kAllLanes) w.fault(op, __builtin_ctz(w.active), "an instruction for whole warps without all lanes");
}

using Tile = uint16_t[8][8];

// The two elements of lane l in an 8 x 8 matrix: neighbours in a row, or, transposed, in a column.
uint32_t take(const Tile& tile, int l, bool transposed) {
  const int row = l / 4, column = l % 4 * 2;
  const uint32_t low = transposed ? tile[column][row] : tile[row][column];
  const uint32_t high = transposed ? tile[column + 1][row] : tile[row][column + 1];
  return low | high << 16;
}
void put(Tile& tile, int l, bool transposed, uint32_t value) {
  const int row = l / 4, column = l % 4 * 2;
  (transposed ? tile[column][row] : tile[row][column]) = static_cast<uint16_t>(value);
  (transposed ? tile[column + 1][row] : tile[row][column + 1]) = static_cast<uint16_t>(value >> 16);
}

// Row r of matrix q begins where lane 8 q + r says.
void locate_rows(Warp& w, const Op& op, Access access, Request& r) {
  need_all_lanes(w, op);
  read_addresses(w, op, r);
  const int rows = 8 * op.count;
  locate_given(w, op, rows == kLanes ? kAllLanes : (1u << rows) - 1, 16, access, r, op.space);
}

void load_matrices(Warp& w, const Op& op) {
  Request r;
  locate_rows(w, op, Access::kRead, r);
  for (int q = 0; q < op.count; ++q) {
    Tile tile;
    for (int row = 0; row < 8; ++row) std::memcpy(tile[row], r.at[8 * q + row], 16);
    for (int l = 0; l < kLanes; ++l) w.at<uint32_t>(op.list[q])[l] = take(tile, l, op.kind != 0);
  }
}

void store_matrices(Warp& w, const Op& op) {
  Request r;
  locate_rows(w, op, Access::kWrite, r);
  for (int q = 0; q < op.count; ++q) {
    Tile tile;
    for (int l = 0; l < kLanes; ++l) put(tile, l, op.kind != 0, w.at<uint32_t>(op.list[q])[l]);
    for (int row = 0; row < 8; ++row) std::memcpy(r.at[8 * q + row], tile[row], 16);
  }
}

void transpose_matrix(Warp& w, const Op& op) {
  need_all_lanes(w, op);
  Tile tile;
  for (int l = 0; l < kLanes; ++l) put(tile, l, false, w.at<uint32_t>(op.a)[l]);
  for (int l = 0; l < kLanes; ++l) w.at<uint32_t>(op.d)[l] = take(tile, l, true);
}

void decode_matrices(Decoder& d, const Instruction& i, Op& op) {
  const bool loads = i.opcode == "ldmatrix";
  if (!i.has("m8n8") || !i.has("b16")) d.unknown();
  op.space = space_of(i);
  op.counted = loads ? Class::kLoadShared : Class::kStoreShared;
  op.run = loads ? load_matrices : store_matrices;
  op.kind = i.has("trans");
  op.count = i.has("x4") ? 4 : i.has("x2") ? 2 : 1;
  const auto registers = items(i.operands.at(loads ? 0 : 1));
  if (registers.size() != op.count) d.unknown();
  op.list = d.list(registers, 4, loads);
  d.address(i.operands.at(loads ? 1 : 0), op);
}

// op.list: D, A, B, C; op.kind: the factors; op.count: the depth; op.flags: whether the sums are halves.
void multiply(Warp& w, const Op& op) {
  need_all_lanes(w, op);
  const int depth = op.count, pairs = op.kind == kTf32Factor ? 1 : 2, sums = op.flags ? 2 : 4;
  const int a_count = depth * 16 / kLanes / pairs, b_count = depth * 8 / kLanes / pairs;
  const uint32_t *a = op.list + sums, *b = a + a_count, *c = b + b_count;
  double A[16][16], B[16][8], C[16][8];
  for (int l = 0; l < kLanes; ++l) {
    for (int n = 0; n < a_count * pairs; ++n) {
      const Place p = pairs == 2 ? a16(l, n) : a32(l, n);
      A[p.row][p.column] = factor(w.at<uint32_t>(a[n / pairs])[l], op.kind, n % pairs);
    }
    for (int n = 0; n < b_count * pairs; ++n) {
      const Place p = pairs == 2 ? b16(l, n) : b32(l, n);
      B[p.row][p.column] = factor(w.at<uint32_t>(b[n / pairs])[l], op.kind, n % pairs);
    }
    for (int n = 0; n < 4; ++n) {
      const Place p = c32(l, n);
      C[p.row][p.column] = op.flags ? factor(w.at<uint32_t>(c[n / 2])[l], kHalfFactor, n % 2) : w.at<float>(c[n])[l];
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < depth; ++k) {
      for (int n = 0; n < 8; ++n) C[row][n] += A[row][k] * B[k][n];
    }
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int n = 0; n < 4; ++n) {
      const Place p = c32(l, n);
      if (op.flags)
        w.at<Half>(op.list[n / 2])[2 * l + n % 2] = narrow<Half>(C[p.row][p.column]);
      else
        w.at<float>(op.list[n])[l] = static_cast<float>(C[p.row][p.column]);
    }
  }
}

void decode_mma(Decoder& d, const Instruction& i, Op& op) {
  const auto t = types(i);
  const std::map<std::string, Factor> factors = {{"f16", kHalfFactor}, {"bf16", kBHalfFactor}, {"tf32", kTf32Factor}};
  const std::map<std::string, int> depths = {{"m16n8k4", 4}, {"m16n8k8", 8}, {"m16n8k16", 16}};
  const auto form = i.modifiers.at(2) == "m16n8k4" || depths.count(i.modifiers.at(2)) ? i.modifiers.at(2) : "";
  if (form.empty() || !i.has("row") || !i.has("col") || t.size() != 4 || t[1] != t[2] || t[0] != t[3]) d.unknown();
  if (t[0] != "f32" && t[0] != "f16") d.unknown();
  op.counted = Class::kTensor;
  op.run = multiply;
  op.kind = factors.at(t[1]);
  op.count = static_cast<uint8_t>(depths.at(form));
  op.flags = t[0] == "f16";
  op.value = 16 * 8 * op.count;  // multiplications
  if ((op.kind == kTf32Factor) != (op.count == 4 || (op.count == 8 && t[1] == "tf32"))) d.unknown();
  std::vector<uint32_t> offsets;
  for (int n = 0; n < 4; ++n) {
    for (const Operand& o : items(i.operands.at(n))) offsets.push_back(n == 0 ? d.destination(o, 4) : d.source(o, 4));
  }
  op.list = d.keep(std::move(offsets));
}

}  // namespace

void add_matrices(DecodeTable& t) {
  t["ldmatrix"] = t["stmatrix"] = decode_matrices;
  t["mma"] = decode_mma;
  t["movmatrix"] = [](Decoder& d, const Instruction& i, Op& op) {
    op.counted = Class::kShuffle;
    op.run = transpose_matrix;
    op.d = d.destination(i.operands.at(0), 4);
    op.a = d.source(i.operands.at(1), 4);
  };
}

}  // namespace vfi::ptx
