// Which element of a matrix a register of a lane holds: the tables of the PTX ISA for mma.m16n8k8, m16n8k16 and m16n8k4.
#pragma once

#include "testing/ptx/numbers.h"

namespace vfi::ptx {

// What is multiplied.
enum Factor : int16_t { kHalfFactor, kBHalfFactor, kTf32Factor };

// Half `half` of a register, or a float32 as the tensor cores see it.
inline double factor(uint32_t bits, int kind, int half) {
  const auto part = static_cast<uint16_t>(bits >> (16 * half));
  if (kind == kHalfFactor) return widen(Half{part});
  if (kind == kBHalfFactor) return widen(BHalf{part});
  return std::bit_cast<float>(bits & 0xffffe000u);
}

struct Place {
  int row, column;
};

// Elements of 16 bits, two to a register: element n of lane l of A (16 x k), B (k x 8).
inline Place a16(int lane, int n) { return {lane / 4 + (n & 2 ? 8 : 0), lane % 4 * 2 + (n & 1) + (n & 4 ? 8 : 0)}; }
inline Place b16(int lane, int n) { return {lane % 4 * 2 + (n & 1) + (n & 2 ? 8 : 0), lane / 4}; }
// Elements of 32 bits: tf32.
inline Place a32(int lane, int n) { return {lane / 4 + (n & 1 ? 8 : 0), lane % 4 + (n & 2 ? 4 : 0)}; }
inline Place b32(int lane, int n) { return {lane % 4 + (n & 1 ? 4 : 0), lane / 4}; }
// Sums: C and D (16 x 8).
inline Place c32(int lane, int n) { return {lane / 4 + (n & 2 ? 8 : 0), lane % 4 * 2 + (n & 1)}; }

}  // namespace vfi::ptx
