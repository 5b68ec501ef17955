// What mixture_lora.h says, on CUDA: s and q (shrink), what they become (expand), and the gradients of the adapters. The
// large products are torch's own.
//
// Blocks go through tiles of tokens that have one expert: a tile never crosses the end of a segment, and which segment
// it belongs to is looked up on the device, so that the host reads no values and any number of segments is one launch.
// Every sum has a fixed order: the shrink and the gradients are cut into parts by sizes alone, which are added in order.
#pragma once

#include <algorithm>
#include <limits>
#include <type_traits>

#include "cuda/products.cuh"
#include "ops/mixture_lora/mixture_lora.h"

namespace vfi::cuda {

constexpr int kTokens = kTile;  // of a tile
constexpr int kRanks = 32;      // rows of a product: columns of s, of which there are few

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
// is; null for columns beyond, and for an expert out of range, of which nothing is read.
template <class T>
__device__ __forceinline__ const T* lora_column(const LoraFactor& f, const LoraShape& s, int64_t expert, int64_t c) {
  const int64_t entry = c < s.rank ? 0 : expert, j = c < s.rank ? c : c - s.rank;
  if (f.data == nullptr || c >= 2 * s.rank || (c >= s.rank && expert == 0)) return nullptr;
  return static_cast<const T*>(f.data) + entry * f.entry_step + j * f.rank_step;
}

// right[k][n] = rows[first + n][k] for N neighbouring k at once.
template <int N, class T, class F>
__device__ __forceinline__ void load_tokens(const T* __restrict__ rows, int64_t step, int tokens, int count, F* right) {
  constexpr int kPacks = kDepth / N;
  for (int e = threadIdx.x; e < kTokens * kPacks; e += kThreads) {
    const int n = e / kPacks, k = e % kPacks * N;
    if (k >= count) continue;
    Pack<T, N> values{};
    if (n < tokens) values = load_pack<T, N>(rows + n * step + k);
#pragma unroll
    for (int i = 0; i < N; ++i) right[RightPanel<F>::at(n, k + i)] = factor_of<F>(values.at[i]);
  }
}

template <class F, int M>
struct LoraShared {
  union {
    Factors<F, M> factors;
    Sum<F> sums[M * kSumStep];
  };
};

// How a sum is cut.
struct LoraParts {
  int64_t parts, each;  // `each`: what a part sums over
};

// partial[part][token][c] = sum over the part of the side of rows[token] factor
template <class T, class F, int N>
__global__ __launch_bounds__(kThreads, 2) void lora_shrink_kernel(const T* __restrict__ rows, LoraFactor factor,
                                                                  LoraTokens t, LoraParts cut,
                                                                  Sum<F>* __restrict__ partial) {
  using Shared = LoraShared<F, kRanks>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const int64_t columns = 2 * t.shape.rank, pieces = (columns + kRanks - 1) / kRanks;
  const int64_t c = blockIdx.x % pieces * kRanks, part = blockIdx.x / pieces % cut.parts;
  const LoraTile tile = lora_tile(t, blockIdx.x / pieces / cut.parts);
  if (tile.count == 0) return;
  const int ranks = static_cast<int>(min(columns - c, int64_t{kRanks}));
  const bool along = factor.side_step == 1;  // neighbouring threads have neighbouring addresses
  F *left = shared->factors.left, *right = shared->factors.right;
  Sums<F, kRanks> sums;
  sums.clear();
  const int64_t end = min(factor.side, (part + 1) * cut.each);
  for (int64_t k = part * cut.each; k < end; k += kDepth) {
    const int count = static_cast<int>(min(end - k, int64_t{kDepth}));
#pragma unroll
    for (int e = threadIdx.x; e < kDepth * kRanks; e += kThreads) {
      const int m = along ? e / kDepth : e % kRanks, i = along ? e % kDepth : e / kRanks;
      const T* const column = lora_column<T>(factor, t.shape, tile.expert, c + m);
      const bool exists = column != nullptr && i < count;
      left[LeftPanel<F, kRanks>::at(m, i)] = exists ? factor_of<F>(column[(k + i) * factor.side_step]) : F{};
    }
    load_tokens<N>(rows + tile.first * factor.side + k, factor.side, tile.count, count, right);
    const int depth = clear_tail<Sums<F, kRanks>::kStep, RightPanel<F>>(right, count);
    __syncthreads();
    sums.multiply_add(left, right, depth, ranks);
    __syncthreads();
  }
  sums.store(shared->sums);
  __syncthreads();
  partial += (part * t.shape.tokens + tile.first) * columns + c;
  for (int e = threadIdx.x; e < kRanks * tile.count; e += kThreads) {
    const int m = e % kRanks, n = e / kRanks;
    if (m < ranks) partial[n * columns + m] = shared->sums[m * kSumStep + n];
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
    const T* const added = lora_column<T>(bias, t.shape, tile.expert, e % columns);
    A sum = added == nullptr ? A(0) : widen<A>(*added);
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

// out[token][o] = sum over c of s[token][c] factor, and the biases
template <class T, class F, int M>
__global__ __launch_bounds__(kThreads, 2) void lora_expand_kernel(const F* __restrict__ s, LoraFactor factor,
                                                                  LoraBiases biases, LoraTokens t,
                                                                  T* __restrict__ out) {
  using A = Sum<F>;
  using Shared = LoraShared<F, M>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const int64_t pieces = (factor.side + M - 1) / M, o = blockIdx.x % pieces * M, columns = 2 * t.shape.rank;
  const LoraTile tile = lora_tile(t, blockIdx.x / pieces);
  if (tile.count == 0) return;
  const int width = static_cast<int>(min(factor.side - o, int64_t{M}));
  const bool along = factor.side_step == 1;
  F *left = shared->factors.left, *right = shared->factors.right;
  Sums<F, M> sums;
  sums.clear();
  for (int64_t c = 0; c < columns; c += kDepth) {
    const int count = static_cast<int>(min(columns - c, int64_t{kDepth}));
    for (int e = threadIdx.x; e < kDepth * M; e += kThreads) {
      const int m = along ? e % M : e / kDepth, i = along ? e / M : e % kDepth;
      const T* const column = lora_column<T>(factor, t.shape, tile.expert, c + i);
      const bool exists = column != nullptr && m < width;
      left[LeftPanel<F, M>::at(m, i)] = exists ? factor_of<F>(column[(o + m) * factor.side_step]) : F{};
    }
    load_tokens<1>(s + tile.first * columns + c, columns, tile.count, count, right);
    const int depth = clear_tail<Sums<F, M>::kStep, RightPanel<F>>(right, count);
    __syncthreads();
    sums.multiply_add(left, right, depth, width);
    __syncthreads();
  }
  sums.store(shared->sums);
  __syncthreads();
  out += tile.first * factor.side + o;
  const T *const base = static_cast<const T*>(biases.base), *const adapters = static_cast<const T*>(biases.adapters);
  for (int e = threadIdx.x; e < M * tile.count; e += kThreads) {
    const int m = e % M, n = e / M;
    if (m >= width) continue;
    A sum = shared->sums[m * kSumStep + n];
    if (base != nullptr) sum += widen<A>(base[(o + m) * biases.base_step]);
    if (adapters != nullptr) {
      sum += widen<A>(adapters[(o + m) * biases.step]) +
             widen<A>(adapters[tile.expert * biases.entry_step + (o + m) * biases.step]);
    }
    narrow(sum, out[n * factor.side + m]);
  }
}

constexpr int64_t kEnoughBlocks = 1024;

// How the side of a shrink is cut: by sizes alone. A part has some pieces of kDepth at least.
inline LoraParts lora_parts(const LoraTokens& t, int64_t side) {
  constexpr int64_t kLeast = 8 * kDepth;
  const int64_t blocks = std::max<int64_t>(t.tiles(kTokens) * ceil_div(2 * t.shape.rank, kRanks), 1);
  const int64_t parts = std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::max<int64_t>(ceil_div(side, kLeast), 1));
  const int64_t each = ceil_div(ceil_div(side, parts), kDepth) * kDepth;
  return {parts, std::max<int64_t>(each, kDepth)};
}

// s [tokens, 2 r]; `partial` has parts tokens 2 r elements.
template <class T, class F>
void launch_lora_shrink(const T* rows, const LoraFactor& factor, const LoraFactor& bias, const LoraTokens& t,
                        Sum<F>* partial, F* s, cudaStream_t stream) {
  const LoraParts cut = lora_parts(t, factor.side);
  if (t.shape.tokens * t.shape.rank == 0) return;
  const Grid grid(t.tiles(kTokens) * ceil_div(2 * t.shape.rank, kRanks) * cut.parts);
  constexpr size_t kBytes = shared_bytes<LoraShared<F, kRanks>>();
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  if (factor.side % kPack == 0 && reinterpret_cast<uintptr_t>(rows) % 16 == 0) {
    VFI_LAUNCH((lora_shrink_kernel<T, F, kPack>), grid, kThreads, kBytes, stream, rows, factor, t, cut, partial);
  } else {
    VFI_LAUNCH((lora_shrink_kernel<T, F, 1>), grid, kThreads, kBytes, stream, rows, factor, t, cut, partial);
  }
  VFI_LAUNCH((lora_finish_kernel<T, F>), Grid(t.tiles(kTokens)), kThreads, 0, stream,
             static_cast<const Sum<F>*>(partial), bias, t, cut.parts, s);
}

// out [tokens, side]
template <class T, class F>
void launch_lora_expand(const F* s, const LoraFactor& factor, const LoraBiases& biases, const LoraTokens& t, T* out,
                        cudaStream_t stream) {
  constexpr int M = std::is_same_v<F, double> ? 32 : 128;
  if (t.shape.tokens * factor.side == 0) return;
  VFI_LAUNCH((lora_expand_kernel<T, F, M>), Grid(t.tiles(kTokens) * ceil_div(factor.side, M)), kThreads,
             (shared_bytes<LoraShared<F, M>>()), stream, s, factor, biases, t, out);
}

}  // namespace vfi::cuda
