// What mixture_lora.h says, on CUDA: s and q (shrink), what they become (expand), and the gradients of the adapters. The
// large products are torch's own.
//
// Blocks go through tiles of tokens that have one expert: a tile never crosses the end of a segment, and which segment
// it belongs to is looked up on the device, so that the host reads no values and any number of segments is one launch.
// Every sum has a fixed order: the shrink and the gradients are cut into parts by sizes alone, which are added in order.
#pragma once

#include <limits>
#include <type_traits>

#include "cuda/lines.cuh"
#include "ops/mixture_lora/mixture_lora.h"

namespace vfi::cuda {

constexpr int kTokens = 128;     // of a tile
constexpr int kLoraBytes = 64;   // of k at a time
template <class F>
constexpr int kLoraColumns = std::is_same_v<F, double> ? 32 : 64;  // of s, or outputs, of a block

struct LoraTokens {
  LoraShape shape;
  const int64_t* segments;  // [S + 1], or null: all tokens have shape.expert
  const int64_t* experts;   // [S]

  // Tiles of `size` tokens: each segment may have one that is not full.
  VFI_HOST_DEVICE int64_t tiles(int64_t size) const {
    return (shape.tokens + size - 1) / size + (segments == nullptr ? 0 : shape.segments);
  }
};

// Neighbouring tokens with one expert; an expert of 0 stands for one out of range.
struct LoraTile {
  int64_t first;
  int count;  // 0: there is no such tile
  int64_t expert;
};

struct LoraSegment {
  int64_t begin, end, expert;
};

// The first one begins at 0 and the last one ends with the tokens, whatever the numbers say: all tokens are in some.
__device__ __forceinline__ LoraSegment lora_segment(const LoraTokens& t, int64_t n) {
  const auto offset = [&](int64_t i) { return min(max(t.segments[i], int64_t{0}), t.shape.tokens); };
  const int64_t expert = t.experts[n];
  return {n == 0 ? 0 : offset(n), n + 1 == t.shape.segments ? t.shape.tokens : offset(n + 1),
          expert >= 1 && expert < t.shape.entries ? expert : 0};
}

__device__ __forceinline__ LoraTile lora_tile(const LoraTokens& t, int64_t index) {
  LoraSegment s{0, t.shape.tokens, t.shape.expert};
  for (int64_t n = 0; t.segments != nullptr; ++n) {
    if (n == t.shape.segments) return {0, 0, 0};
    s = lora_segment(t, n);
    const int64_t tiles = s.end > s.begin ? (s.end - s.begin + kTokens - 1) / kTokens : 0;
    if (index < tiles) break;
    index -= tiles;
  }
  const int64_t first = s.begin + index * kTokens;
  return {first, static_cast<int>(min(s.end - first, int64_t{kTokens})), s.expert};
}

// lora_a, or lora_b, whose sides are in and out; their gradients too.
struct LoraFactor {
  void* data;
  int64_t entry_step, rank_step, side_step;
  int64_t side;
};

// Columns c = 0 ... 2 r - 1 of s: those of entry 0, then those of the expert. Where the first element of a column's side
// is; -1 for columns beyond, and for an expert out of range, of which nothing is read.
__device__ __forceinline__ int64_t lora_column(const LoraFactor& f, const LoraShape& s, int64_t expert, int64_t c) {
  const int64_t entry = c < s.rank ? 0 : expert, j = c < s.rank ? c : c - s.rank;
  if (f.data == nullptr || c >= 2 * s.rank || (c >= s.rank && expert == 0)) return -1;
  return entry * f.entry_step + j * f.rank_step;
}

// Where column n of a block is: side by side for a lane.
__device__ __forceinline__ int64_t lora_line(int64_t first, int32_t line) {
  return first + line / kRowColumns * kRowColumns + row_line(line % kRowColumns);
}

// Two pieces of both factors: one is multiplied while the other is on its way.
template <class F>
struct LoraShared {
  struct Piece {
    alignas(16) unsigned char left[kTokens * (kLoraBytes + 16)];
    alignas(16) unsigned char right[kLoraColumns<F> * (kLoraBytes + 16)];
  } pieces[2];
};

// The sums of a block, kTokens x kLoraColumns; a warp's are at its row() and column().
template <class F>
struct LoraSums {
  static constexpr int kAcross = kLoraColumns<F> / kRowColumns, kDown = kTokens * kAcross / (kThreads / 2);
  using Tiles = EvenTiles<F, kDown, kLoraBytes>;
  Tiles tiles;

  static __device__ __forceinline__ int32_t warp() { return static_cast<int32_t>(threadIdx.x) / 32; }
  static __device__ __forceinline__ int32_t row() { return warp() / kAcross * 16 * kDown; }
  static __device__ __forceinline__ int32_t column() { return warp() % kAcross * kRowColumns; }

  // load(piece, n) begins to load piece n of `count`.
  template <class Load>
  __device__ __forceinline__ void multiply(LoraShared<F>& shared, int64_t count, const Load& load) {
    constexpr int32_t kPitch = row_pitch(kLoraBytes), kPiece = sizeof(shared.pieces[0]);
    tiles.clear();
    tiles.find(shared.pieces[0].left + row() * kPitch, shared.pieces[0].right + column() * kPitch, kPiece);
    if (count > 0) load(shared.pieces[0], int64_t{0});
    end_copies();
    for (int64_t n = 0; n < count; ++n) {
      if (n + 1 < count) load(shared.pieces[(n + 1) % 2], n + 1);
      end_copies();
      wait_for_copies<1>();
      __syncthreads();
      tiles.multiply_add();
      __syncthreads();
    }
    wait_for_copies<0>();
  }
};

// How a sum is cut.
struct LoraParts {
  int64_t parts, each;  // `each`: what a part sums over
};

// partial[part][token][c] = sum over the part of the side of rows[token] factor
template <class T, class F, bool kPacked, bool kAlong>
__global__ __launch_bounds__(kThreads, 2) void lora_shrink_kernel(const T* __restrict__ rows, LoraFactor factor,
                                                                  LoraTokens t, LoraParts cut,
                                                                  Sum<F>* __restrict__ partial) {
  constexpr int kColumns = kLoraColumns<F>, kPitch = row_pitch(kLoraBytes), kEach = kLoraBytes / static_cast<int>(sizeof(F));
  VFI_DYNAMIC_SHARED(LoraShared<F>, shared);
  const int64_t columns = 2 * t.shape.rank, across = (columns + kColumns - 1) / kColumns;
  const int64_t c = blockIdx.x % across * kColumns, part = blockIdx.x / across % cut.parts;
  const LoraTile tile = lora_tile(t, blockIdx.x / across / cut.parts);
  if (tile.count == 0) return;
  const int64_t begin = part * cut.each, end = min(factor.side, begin + cut.each);
  LoraSums<F> sums;
  sums.multiply(*shared, (end - begin + kEach - 1) / kEach, [&](auto& piece, int64_t n) {
    const int64_t k = begin + n * kEach;
    const int32_t depth = static_cast<int32_t>(min(end - k, int64_t{kEach}));
    load_lines<kPacked, kLoraBytes, kPitch, F>(piece.left, kTokens, rows + tile.first * factor.side + k, 1, depth,
                           [&](int32_t i) { return i < tile.count ? i * factor.side : int64_t{-1}; });
    const T* const from = static_cast<const T*>(factor.data) + k * factor.side_step;
    load_lines<kAlong, kLoraBytes, kPitch, F>(piece.right, kColumns, from, factor.side_step, depth, [&](int32_t line) {
      return lora_column(factor, t.shape, tile.expert, lora_line(c, line));
    });
  });
  partial += (part * t.shape.tokens + tile.first) * columns;
  const int64_t first = c + sums.column() + sums.tiles.column();
#pragma unroll
  for (int i = 0; i < LoraSums<F>::Tiles::kRows; ++i) {
    const int32_t token = sums.row() + sums.tiles.row(i);
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (token < tile.count && first + n < columns) partial[token * columns + first + n] = sums.tiles.sums[i][n];
    }
  }
}

// s = the parts in order and the biases, as factors. NaN where the expert is out of range.
template <class T, class F>
__global__ __launch_bounds__(kThreads) void lora_finish_kernel(const Sum<F>* __restrict__ partial, LoraFactor bias,
                                                               LoraTokens t, int64_t parts, F* __restrict__ s) {
  using A = Sum<F>;
  const LoraTile tile = lora_tile(t, blockIdx.x);
  const int64_t columns = 2 * t.shape.rank;
  for (int64_t e = threadIdx.x; e < tile.count * columns; e += kThreads) {
    const int64_t at = tile.first * columns + e;
    const int64_t added = lora_column(bias, t.shape, tile.expert, e % columns);
    A sum = added < 0 ? A(0) : widen<A>(static_cast<const T*>(bias.data)[added]);
    for (int64_t part = 0; part < parts; ++part) sum += partial[part * t.shape.tokens * columns + at];
    if (tile.expert == 0 && e % columns >= t.shape.rank) sum = std::numeric_limits<A>::quiet_NaN();
    s[at] = factor_of<F>(narrow_to<T>(sum));
  }
}

// The biases of an output: that of the base layer, and lora_b_bias of both entries.
struct LoraBiases {
  const void *base, *adapters;
  int64_t base_step, entry_step, step;
};

// What is added to outputs o ... o + 7.
template <class T, class A>
__device__ __forceinline__ void load_lora_biases(const LoraBiases& b, int64_t expert, int64_t o, int64_t count, A (&to)[8]) {
  const T *const base = static_cast<const T*>(b.base), *const adapters = static_cast<const T*>(b.adapters);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    to[n] = A(0);
    if (n >= count) continue;
    if (base != nullptr) to[n] = widen<A>(base[(o + n) * b.base_step]);
    if (adapters != nullptr) {
      to[n] += widen<A>(adapters[(o + n) * b.step]) + widen<A>(adapters[expert * b.entry_step + (o + n) * b.step]);
    }
  }
}

// out[token][o] = sum over c of s[token][c] factor, and the biases. kAlong: the ranks of an output lie side by side.
template <class T, class F, bool kPacked, bool kAlong>
__global__ __launch_bounds__(kThreads, 2) void lora_expand_kernel(const F* __restrict__ s, LoraFactor factor,
                                                                  LoraBiases biases, LoraTokens t, T* __restrict__ out,
                                                                  bool together) {
  constexpr int kColumns = kLoraColumns<F>, kPitch = row_pitch(kLoraBytes), kEach = kLoraBytes / static_cast<int>(sizeof(F));
  VFI_DYNAMIC_SHARED(LoraShared<F>, shared);
  const int64_t across = (factor.side + kColumns - 1) / kColumns, o = blockIdx.x % across * kColumns;
  const LoraTile tile = lora_tile(t, blockIdx.x / across);
  if (tile.count == 0) return;
  const int64_t rank = t.shape.rank, each = (rank + kEach - 1) / kEach;  // pieces of an entry
  LoraSums<F> sums;
  sums.multiply(*shared, 2 * each, [&](auto& piece, int64_t n) {
    const int64_t entry = n < each ? 0 : 1, j = (n - entry * each) * kEach;
    const int32_t depth = static_cast<int32_t>(min(rank - j, int64_t{kEach}));
    load_lines<kPacked, kLoraBytes, kPitch, F>(piece.left, kTokens, s + tile.first * 2 * rank + entry * rank + j, 1, depth,
                           [&](int32_t i) { return i < tile.count ? i * 2 * rank : int64_t{-1}; });
    const int64_t column = lora_column(factor, t.shape, tile.expert, entry * rank + j);
    const T* const from = static_cast<const T*>(factor.data) + max(column, int64_t{0});
    load_lines<kAlong, kLoraBytes, kPitch, F>(piece.right, kColumns, from, factor.rank_step, depth, [&](int32_t line) {
      const int64_t at = lora_line(o, line);
      return column < 0 || at >= factor.side ? int64_t{-1} : at * factor.side_step;
    });
  });
  const int64_t first = o + sums.column() + sums.tiles.column(), count = factor.side - first;
  Sum<F> added[8];
  load_lora_biases<T>(biases, tile.expert, first, count, added);
#pragma unroll
  for (int i = 0; i < LoraSums<F>::Tiles::kRows; ++i) {
    const int32_t token = sums.row() + sums.tiles.row(i);
#pragma unroll
    for (int n = 0; n < 8; ++n) sums.tiles.sums[i][n] += added[n];
    if (token >= tile.count) continue;
    store_line(out + (tile.first + token) * factor.side + first, 1, static_cast<int32_t>(min(count, int64_t{8})), together,
               sums.tiles.sums[i]);
  }
}

}  // namespace vfi::cuda
