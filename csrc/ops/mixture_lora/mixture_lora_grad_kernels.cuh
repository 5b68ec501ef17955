// The gradients of mixture_lora's adapters and biases on CUDA; formulas in mixture_lora.h. A block sums a fixed part of the
// tokens; another kernel adds the parts in order.
#pragma once

#include "ops/mixture_lora/mixture_lora_launch.cuh"

namespace vfi::cuda {

constexpr int kRanks = 32;  // rows of a product

template <class F>
struct LoraGradShared {
  union {
    Factors<F, kRanks> factors;
    Sum<F> sums[kRanks * kSumStep];
  };
};

// `count` rows of `rows` from `first` on, `width` of their columns from `column` on, zeros beyond; null stands for ones.
template <class Factor, class T, class F>
__device__ __forceinline__ void load_grad_factor(const T* rows, int64_t row_step, int64_t first, int64_t column, int count,
                                                 int width, F* to) {
  constexpr int kColumns = Factor::kRows;
  const F one = factor_of<F>(1.0f);
  for (int e = threadIdx.x; e < kDepth * kColumns; e += kThreads) {
    const int n = e % kColumns, k = e / kColumns;
    F value{};
    if (n < width && k < count) value = rows == nullptr ? one : factor_of<F>(rows[(first + k) * row_step + column + n]);
    to[Factor::at(n, k)] = value;
  }
}

// partial[part][entry][j][n] = sum over the tokens of the entry, every parts-th tile of them, of left[token][j]
// right[token][n]: left is the entry's half of s or q, right a row of x or grad_out. Null stands for ones.
template <class T, class F>
__global__ __launch_bounds__(kThreads, 3) void lora_grad_kernel(const F* __restrict__ left_rows, int64_t ranks,
                                                                const T* __restrict__ right_rows, int64_t side,
                                                                LoraTokens t, int64_t parts,
                                                                Sum<F>* __restrict__ partial) {
  using Shared = LoraGradShared<F>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const int64_t down = (ranks + kRanks - 1) / kRanks, across = (side + kTile - 1) / kTile;
  Digits<int64_t> block{blockIdx.x};
  const int64_t column = block.next(across) * kTile, j = block.next(down) * kRanks, entry = block.next(t.shape.entries);
  const int64_t part = block.rest;
  const int rows = static_cast<int>(min(ranks - j, int64_t{kRanks}));
  const int width = static_cast<int>(min(side - column, int64_t{kTile}));
  const int64_t step = 2 * t.shape.rank, half = entry == 0 ? 0 : t.shape.rank;
  F *left = shared->factors.left, *right = shared->factors.right;
  Sums<F, kRanks> sums;
  sums.clear();
  const auto add = [&](int64_t begin, int64_t end) {
    for (int64_t first = begin + part * kDepth; first < end; first += parts * kDepth) {
      const int count = static_cast<int>(min(end - first, int64_t{kDepth}));
      load_grad_factor<LeftPanel<F, kRanks>>(left_rows, step, first, half + j, count, rows, left);
      load_grad_factor<RightPanel<F>>(right_rows, side, first, column, count, width, right);
      __syncthreads();
      sums.multiply_add(left, right, kDepth, rows);
      __syncthreads();
    }
  };
  if (entry == 0 || (t.segments == nullptr && entry == t.shape.expert)) {
    add(0, t.shape.tokens);
  } else if (t.segments != nullptr) {
    for (int64_t n = 0; n < t.shape.segments; ++n) {
      const LoraSegment segment = lora_segment(t, n);
      if (segment.expert == entry) add(segment.begin, segment.end);
    }
  }
  sums.store(shared->sums);
  __syncthreads();
  partial += ((part * t.shape.entries + entry) * ranks + j) * side + column;
  for (int e = threadIdx.x; e < rows * kTile; e += kThreads) {
    const int m = e / kTile, n = e % kTile;
    if (n < width) partial[m * side + n] = shared->sums[m * kSumStep + n];
  }
}

// grad = the parts in order.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void lora_grad_sum_kernel(const A* __restrict__ partial, LoraFactor grad,
                                                                 int64_t entries, int64_t ranks, int64_t parts) {
  const int64_t count = entries * ranks * grad.side;
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += int64_t{gridDim.x} * kThreads) {
    A sum = A(0);
    for (int64_t part = 0; part < parts; ++part) sum += partial[part * count + i];
    const int64_t n = i % grad.side, j = i / grad.side % ranks, entry = i / grad.side / ranks;
    narrow(sum, static_cast<T*>(grad.data)[entry * grad.entry_step + j * grad.rank_step + n * grad.side_step]);
  }
}

inline int64_t lora_grad_parts(const LoraTokens& t, int64_t ranks, int64_t side) {
  const int64_t blocks = std::max<int64_t>(t.shape.entries * ceil_div(ranks, kRanks) * ceil_div(side, kTile), 1);
  return std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::max<int64_t>(ceil_div(t.shape.tokens, 8 * kDepth), 1));
}

// grad [entries, ranks, side] by its steps; `partial` has lora_grad_parts entries ranks side elements.
template <class T, class F>
void launch_lora_grad(const F* left, int64_t ranks, const T* right, const LoraFactor& grad, const LoraTokens& t,
                      Sum<F>* partial, cudaStream_t stream) {
  const int64_t count = t.shape.entries * ranks * grad.side, parts = lora_grad_parts(t, ranks, grad.side);
  if (count == 0) return;
  const int64_t blocks = parts * t.shape.entries * ceil_div(ranks, kRanks) * ceil_div(grad.side, kTile);
  VFI_LAUNCH((lora_grad_kernel<T, F>), Grid(blocks), kThreads, (shared_bytes<LoraGradShared<F>>()), stream,
             left, ranks, right, grad.side, t, parts, partial);
  VFI_LAUNCH((lora_grad_sum_kernel<T, Sum<F>>), grid_size(ceil_div(count, kThreads)), kThreads, 0, stream,
             static_cast<const Sum<F>*>(partial), grad, t.shape.entries, ranks, parts);
}

}  // namespace vfi::cuda
