// The gradients of local correlation with cost dot in float32 and float64, where neighbouring points and displacements are
// neighbouring pixels; see correlation_kernels.cuh.
//
// A thread has kGradPixels neighbouring owners and kChannels channels. It goes through the rows of displacements: D numbers
// of grad_out of each owner are in registers for all channels, the rows of the other map in a ring in shared memory, the
// next one on its way.
#pragma once

#include "cuda/async_copy.cuh"
#include "ops/correlation/correlation_grad_kernels.cuh"

namespace vfi::cuda {

template <class A>
constexpr int kGradPixels = 16 / sizeof(A);
constexpr int kGradAcross = 8, kGradRows = 8;                       // threads of a tile
constexpr int kGradGroups = kThreads / (kGradAcross * kGradRows);  // of channels, in a block
constexpr int kGradRing = kGradRows + 1;

template <class A, int D>
struct GradShape {
  static constexpr int kPixels = kGradPixels<A>, kWidth = kGradAcross * kPixels, kBlock = kGradGroups * kChannels<A>;
  static constexpr int kWindow = (kPixels + D - 1 + kPixels - 1) / kPixels * kPixels;  // what a thread reads
  static constexpr int kColumns = kWidth - kPixels + kWindow;
  static constexpr int kRow = kBlock * kColumns, kElements = kGradRing * kRow;  // [channel][column] of a row
};

// Row y of the other map from column x on, of the channels that are left, zeros elsewhere.
template <class Shape, class A>
__device__ __forceinline__ void copy_grad_row(A* row, const A* other, const CorrelationArgsGpu& a, int32_t y, int32_t x,
                                              int32_t channels, bool aligned) {
  constexpr int kPixels = Shape::kPixels, kPacks = Shape::kColumns / kPixels;
  const bool inside = a.v.is_inside(y);
  other += int64_t{y} * a.h.size + x;
  for (unsigned i = threadIdx.x; i < unsigned{Shape::kBlock * kPacks}; i += kThreads) {
    const int32_t channel = i / kPacks, column = i % kPacks * kPixels;
    const A* from = other + channel * a.plane() + column;
    A* to = row + i * kPixels;
    const bool exists = inside && channel < channels;
    if (aligned) {
      copy_async<16>(to, from, exists && a.h.is_inside(x + column) ? 16 : 0);
    } else {
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        copy_async<sizeof(A)>(to + p, from + p, exists && a.h.is_inside(x + column + p) ? sizeof(A) : 0);
      }
    }
  }
}

// Where grad_out of a thread's first owner is: of displacement 0 of the block's D, of row 0; elements.
struct GradSource {
  int64_t at, step, row_step;  // to the next displacement along x, along y
  int32_t low, high;           // of displacement + owner, in between which the other pixel exists
};

inline __device__ GradSource grad_source(const CorrelationArgsGpu& a, const GradHalo& halo, int32_t y, int32_t x,
                                         int32_t number) {
  const int64_t outputs = a.outputs(), row = a.h.outputs;
  const int32_t first = x + halo.left + number;  // the other pixel
  GradSource s;
  if (a.mirrored) {
    s.at = ((int64_t{a.v.count} - 1) * a.h.count + a.h.count - 1 - number) * outputs +
           (int64_t{y} + halo.top + a.v.padding) * row + first + a.h.padding;
    s.step = 1 - outputs, s.row_step = row - a.h.count * outputs;
  } else {
    s.at = number * outputs + (int64_t{y} + a.v.padding) * row + x + a.h.padding;
    s.step = outputs, s.row_step = a.h.count * outputs;
  }
  s.low = -first, s.high = a.h.size - first;
  return s;
}

// grad_out of D displacements and the thread's owners; 0 where there is no other pixel.
template <int D, class A>
__device__ __forceinline__ void load_grads(A (&g)[D][kGradPixels<A>], const A* __restrict__ from, const GradSource& s,
                                           int32_t displacements, int32_t owners, bool row_exists, bool aligned) {
  constexpr int kPixels = kGradPixels<A>;
  const bool whole = row_exists && s.low <= 0 && s.high >= D + kPixels - 1 && displacements >= D && owners >= kPixels;
  if (aligned && whole) {
#pragma unroll
    for (int d = 0; d < D; ++d, from += s.step) {
      const auto v = load_pack<A, kPixels>(from);
#pragma unroll
      for (int p = 0; p < kPixels; ++p) g[d][p] = v.at[p];
    }
  } else if (whole) {
#pragma unroll
    for (int d = 0; d < D; ++d, from += s.step) {
#pragma unroll
      for (int p = 0; p < kPixels; ++p) g[d][p] = from[p];
    }
  } else {
    // Bit d + p of `reached`: the other pixel exists.
    const int32_t low = max(s.low, 0), high = row_exists ? min(s.high, D + kPixels) : 0;
    const unsigned reached = high > low ? (1u << high) - (1u << low) : 0;
    const unsigned own = owners >= kPixels ? (1u << kPixels) - 1 : owners > 0 ? (1u << owners) - 1 : 0;
#pragma unroll
    for (int d = 0; d < D; ++d, from += s.step) {
      const unsigned exist = d < displacements ? reached >> d & own : 0;
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        g[d][p] = A(0);
        if ((exist >> p & 1) != 0) g[d][p] = from[p];
      }
    }
  }
}

// `row`: the other map's at the thread's first owner, for its first channel.
template <int D, class A>
__device__ __forceinline__ void add_grads(const A* row, const A (&g)[D][kGradPixels<A>],
                                          A (&sums)[kChannels<A>][kGradPixels<A>]) {
  using Shape = GradShape<A, D>;
  constexpr int kPixels = Shape::kPixels;
#pragma unroll
  for (int n = 0; n < kChannels<A>; ++n) {
    Pack<A, kPixels> window[Shape::kWindow / kPixels];
#pragma unroll
    for (int k = 0; k < Shape::kWindow / kPixels; ++k) {
      window[k] = load_pack<A, kPixels>(row + n * Shape::kColumns + k * kPixels);
    }
#pragma unroll
    for (int d = 0; d < D; ++d) {
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        sums[n][p] += g[d][p] * window[(d + p) / kPixels].at[(d + p) % kPixels];
      }
    }
  }
}

template <class A>
__device__ __forceinline__ void store_grads(A* grad, const CorrelationArgsGpu& a, int32_t channels, int32_t owners,
                                            const A (&sums)[kChannels<A>][kGradPixels<A>]) {
  constexpr int kPixels = kGradPixels<A>;
  const A scale = A(1) / static_cast<A>(a.divisor);
#pragma unroll
  for (int n = 0; n < kChannels<A>; ++n) {
    if (n >= channels) break;
    Pack<A, kPixels> values;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) values.at[p] = sums[n][p] * scale;
    A* const to = grad + n * a.plane();
    if (a.h.size % kPixels == 0) {  // fresh memory
      store_pack(to, values);
    } else {
#pragma unroll
      for (int p = 0; p < kPixels; ++p) {
        if (p < owners) to[p] = values.at[p];
      }
    }
  }
}

// aligned_rows: those of the other map; aligned_grads: the numbers of a thread's owners in grad_out.
template <class T, int D>
__global__ __launch_bounds__(kThreads, 2) void correlation_grad_staged_kernel(const T* __restrict__ grad_out,
                                                                              const T* __restrict__ other,
                                                                              T* __restrict__ grad, CorrelationArgsGpu a,
                                                                              bool aligned_rows, bool aligned_grads) {
  using A = T;
  using Shape = GradShape<A, D>;
  VFI_DYNAMIC_SHARED(A, ring);
  const int32_t parts = (a.channels + Shape::kBlock - 1) / Shape::kBlock, part = blockIdx.x % parts;
  const int32_t across = (a.h.size + Shape::kWidth - 1) / Shape::kWidth, down = (a.v.size + kGradRows - 1) / kGradRows;
  const int32_t tile = blockIdx.x / parts, line = tile / across;
  const TilePlace at{line / down, line % down * kGradRows, tile % across * Shape::kWidth, part};
  const int place = threadIdx.x % (kGradAcross * kGradRows), row = place / kGradAcross;
  const int column = place % kGradAcross * Shape::kPixels, group = threadIdx.x / (kGradAcross * kGradRows) * kChannels<A>;
  const int32_t block = min(a.channels - part * Shape::kBlock, Shape::kBlock), channels = block - group;
  const int32_t x = at.x + column, y = at.y + row, owners = y < a.v.size ? a.h.size - x : 0;
  const GradHalo halo(a);
  const int64_t sample = (at.b * a.channels + part * Shape::kBlock) * a.plane();
  other += sample, grad += sample + group * a.plane() + int64_t{y} * a.h.size + x;
  grad_out += at.b * a.displacements() * a.outputs();
  A sums[kChannels<A>][Shape::kPixels] = {};
  for (int32_t number = 0; number < a.h.count; number += D) {
    const GradSource source = grad_source(a, halo, y, x, number);
    const int32_t top = at.y + halo.top, left = at.x + halo.left + number;
    const auto copy = [&](int slot, int32_t of) {
      copy_grad_row<Shape>(ring + slot * Shape::kRow, other, a, top + of, left, block, aligned_rows);
    };
    __syncthreads();
    for (int i = 0; i < kGradRows; ++i) copy(i, i);
    end_copies();
    int slot = row, next = kGradRows;
    const T* from = grad_out + source.at;
    for (int32_t i = 0; i < a.v.count; ++i, from += source.row_step) {
      A g[D][Shape::kPixels];
      load_grads<D>(g, from, source, a.h.count - number, owners, a.v.is_inside(y + halo.top + i), aligned_grads);
      wait_for_copies<0>();
      __syncthreads();
      if (i + 1 < a.v.count) copy(next, kGradRows + i);
      end_copies();
      add_grads<D>(ring + slot * Shape::kRow + group * Shape::kColumns + column, g, sums);
      slot = slot + 1 == kGradRing ? 0 : slot + 1, next = next + 1 == kGradRing ? 0 : next + 1;
    }
  }
  if (owners > 0) store_grads(grad, a, channels, owners, sums);
}

template <int D, class T>
void launch_grad_staged(const T* grad_out, const T* other, T* grad, const CorrelationArgsGpu& a, cudaStream_t stream) {
  using Shape = GradShape<T, D>;
  constexpr size_t kShared = Shape::kElements * sizeof(T);
  static_assert(kShared <= 48 << 10);
  const GradHalo halo(a);
  const auto starts = [](const T* p) { return reinterpret_cast<uintptr_t>(p) % (Shape::kPixels * sizeof(T)) == 0; };
  const bool steady = halo.left % Shape::kPixels == 0 && (a.h.count <= D || D % Shape::kPixels == 0);
  const bool rows = a.h.size % Shape::kPixels == 0 && steady && starts(other);
  const bool grads = !a.mirrored && a.h.outputs % Shape::kPixels == 0 && a.h.padding % Shape::kPixels == 0 && starts(grad_out);
  const Grid blocks(a.batch * ceil_div(a.v.size, kGradRows) * ceil_div(a.h.size, Shape::kWidth) *
                    ceil_div(a.channels, Shape::kBlock));
  VFI_LAUNCH((correlation_grad_staged_kernel<T, D>), blocks, kThreads, kShared, stream, grad_out, other, grad, a, rows,
             grads);
}

}  // namespace vfi::cuda
