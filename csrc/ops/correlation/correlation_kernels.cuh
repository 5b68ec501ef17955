// Local correlation and its gradients on CUDA; the formulas are in correlation.h. Contiguous tensors.
//
// Forward: a block has a tile of pixels and kDyPerBlock displacements along y, one per layer of threads. Some channels of
// both maps are staged in shared memory at a time; a thread keeps the sums of kPixels neighbouring pixels and D
// displacements along x in registers. Gradients: a thread has one pixel and the sums of N channels, and goes through the
// displacements; the other map is staged with its halo. Every sum has one owner and a fixed order.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

struct CorrelationArgsGpu {
  int64_t batch;
  int32_t channels, height, width, radius;
  bool mirrored;  // gradient of `second`

  VFI_HOST_DEVICE int32_t side() const { return 2 * radius + 1; }
  VFI_HOST_DEVICE int64_t plane() const { return int64_t{height} * width; }
};

constexpr int kTileWidth = 32, kTileHeight = 8;  // pixels of a block

// A block's place: sample, tile, and `part` of the work that tiles are cut into, which goes fastest: parts share data.
struct TilePlace {
  int64_t b;
  int32_t y, x, part;
};

__device__ __forceinline__ TilePlace tile_place(const CorrelationArgsGpu& a, int32_t parts) {
  const int32_t across = (a.width + kTileWidth - 1) / kTileWidth, down = (a.height + kTileHeight - 1) / kTileHeight;
  const int32_t tile = blockIdx.x / parts, row = tile / across;
  return {row / down, row % down * kTileHeight, tile % across * kTileWidth, static_cast<int32_t>(blockIdx.x) % parts};
}

inline Grid tile_blocks(const CorrelationArgsGpu& a, int64_t parts) {
  return a.batch * ceil_div(a.height, kTileHeight) * ceil_div(a.width, kTileWidth) * parts;
}

// Element (y, x) of a plane, 0 outside.
template <class A, class T>
__device__ __forceinline__ A read_inside(const T* plane, const CorrelationArgsGpu& a, int32_t y, int32_t x) {
  if (y < 0 || y >= a.height || x < 0 || x >= a.width) return A(0);
  return widen<A>(plane[int64_t{y} * a.width + x]);
}

constexpr int kPixels = 4, kDyPerBlock = 3, kStaged = 8;  // kStaged: channels in shared memory
constexpr int kAcross = kTileWidth / kPixels;
constexpr int kForwardThreads = kAcross * kTileHeight * kDyPerBlock;

template <class A, int D>
struct alignas(kPixels * sizeof(A)) Stage {
  static constexpr int kRows = kTileHeight + kDyPerBlock - 1;
  static constexpr int kWindow = (kPixels + D - 1 + kPixels - 1) / kPixels * kPixels;  // what a thread reads of a row
  static constexpr int kColumns = kTileWidth - kPixels + kWindow;
  A first[kStaged][kTileHeight][kTileWidth];
  A second[kStaged][kRows][kColumns];
};

// kStaged channels of both maps from `start` on, 0 beyond the last; second's rows and columns from dy and dx on.
template <class T, class A, int D>
__device__ __forceinline__ void stage_channels(Stage<A, D>& stage, const T* first, const T* second,
                                               const CorrelationArgsGpu& a, const TilePlace& at, int32_t start,
                                               int32_t dy, int32_t dx) {
  using Shared = Stage<A, D>;
  const int thread = (threadIdx.z * kTileHeight + threadIdx.y) * kAcross + threadIdx.x;
  for (int i = thread; i < kStaged * kTileHeight * kTileWidth; i += kForwardThreads) {
    const int c = i / (kTileHeight * kTileWidth), y = i / kTileWidth % kTileHeight, x = i % kTileWidth;
    const T* plane = first + (start + c) * a.plane();
    stage.first[c][y][x] = start + c < a.channels ? read_inside<A>(plane, a, at.y + y, at.x + x) : A(0);
  }
  for (int i = thread; i < kStaged * Shared::kRows * Shared::kColumns; i += kForwardThreads) {
    const int c = i / (Shared::kRows * Shared::kColumns), y = i / Shared::kColumns % Shared::kRows;
    const int x = i % Shared::kColumns;
    const T* plane = second + (start + c) * a.plane();
    stage.second[c][y][x] = start + c < a.channels ? read_inside<A>(plane, a, at.y + dy + y, at.x + dx + x) : A(0);
  }
}

template <class A, int D>
__device__ __forceinline__ void add_staged(const Stage<A, D>& stage, A (&sum)[kPixels][D]) {
  constexpr int kPacks = Stage<A, D>::kWindow / kPixels;
#pragma unroll 1
  for (int c = 0; c < kStaged; ++c) {
    const auto v = load_pack<A, kPixels>(&stage.first[c][threadIdx.y][threadIdx.x * kPixels]);
    Pack<A, kPixels> window[kPacks];
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const int y = threadIdx.y + threadIdx.z;
      window[k] = load_pack<A, kPixels>(&stage.second[c][y][(threadIdx.x + k) * kPixels]);
    }
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
#pragma unroll
      for (int d = 0; d < D; ++d) {
        sum[p][d] += v.at[p] * window[(p + d) / kPixels].at[(p + d) % kPixels];
      }
    }
  }
}

// D displacements along x from dx on.
template <class T, class A, int D>
__global__ __launch_bounds__(kForwardThreads) void correlation_kernel(const T* __restrict__ first,
                                                                      const T* __restrict__ second, T* __restrict__ out,
                                                                      CorrelationArgsGpu a) {
  using Shared = Stage<A, D>;
  __shared__ Shared stage;
  const int32_t chunks = (a.side() + D - 1) / D, groups = (a.side() + kDyPerBlock - 1) / kDyPerBlock;
  const TilePlace at = tile_place(a, chunks * groups);
  const int32_t dx = at.part % chunks * D - a.radius, dy = at.part / chunks * kDyPerBlock - a.radius;
  first += at.b * a.channels * a.plane();
  second += at.b * a.channels * a.plane();
  A sum[kPixels][D] = {};
  for (int32_t start = 0; start < a.channels; start += kStaged) {
    stage_channels(stage, first, second, a, at, start, dy, dx);
    __syncthreads();
    add_staged(stage, sum);
    __syncthreads();
  }
  const int32_t x = at.x + threadIdx.x * kPixels, y = at.y + threadIdx.y;
  const int32_t row = dy + static_cast<int32_t>(threadIdx.z);
  if (y >= a.height || row > a.radius) return;
  const bool meets = y + row >= 0 && y + row < a.height;
  const A count = a.channels > 0 ? a.channels : 1;
  out += ((at.b * a.side() + row + a.radius) * a.side() * a.height + y) * a.width + x;
#pragma unroll
  for (int d = 0; d < D; ++d) {
    if (dx + d > a.radius) break;
    Pack<T, kPixels> mean;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const bool inside = meets && x + p + dx + d >= 0 && x + p + dx + d < a.width;
      mean.at[p] = narrow_to<T>(inside ? sum[p][d] / count : A(0));
    }
    T* to = out + (dx + d + a.radius) * a.plane();
    if (a.width % kPixels == 0 && x < a.width) {  // fresh memory: aligned wherever the offset is
      store_pack(to, mean);
    } else {
      for (int p = 0; p < kPixels; ++p) {
        if (x + p < a.width) to[p] = mean.at[p];
      }
    }
  }
}

// Channels of a thread of the gradient kernel: those of radius 9 fit in 48 KB of shared memory.
template <class A>
constexpr int kChannels = sizeof(A) == 8 ? 4 : 8;

template <class T, class A>
__global__ __launch_bounds__(kThreads) void correlation_grad_kernel(const T* __restrict__ grad_out,
                                                                    const T* __restrict__ other, T* __restrict__ grad,
                                                                    CorrelationArgsGpu a) {
  constexpr int N = kChannels<A>, kPack = 16 / sizeof(A);
  VFI_DYNAMIC_SHARED(A, shared);  // [rows][columns][N]
  const TilePlace at = tile_place(a, (a.channels + N - 1) / N);
  const int32_t n = a.side(), start = at.part * N;
  const int rows = kTileHeight + 2 * a.radius, columns = kTileWidth + 2 * a.radius;
  other += (at.b * a.channels + start) * a.plane();
  for (int i = threadIdx.y * kTileWidth + threadIdx.x; i < N * rows * columns; i += kThreads) {
    const int c = i / (rows * columns), y = i / columns % rows, x = i % columns;
    const T* plane = other + c * a.plane();
    shared[(y * columns + x) * N + c] =
        start + c < a.channels ? read_inside<A>(plane, a, at.y + y - a.radius, at.x + x - a.radius) : A(0);
  }
  __syncthreads();
  const int32_t x = at.x + threadIdx.x, y = at.y + threadIdx.y;
  if (x >= a.width || y >= a.height) return;
  grad_out += at.b * n * n * a.plane();
  A sum[N] = {};
  for (int32_t dy = -a.radius; dy <= a.radius; ++dy) {
    if (y + dy < 0 || y + dy >= a.height) continue;
    for (int32_t dx = -a.radius; dx <= a.radius; ++dx) {
      if (x + dx < 0 || x + dx >= a.width) continue;
      const int32_t d = (dy + a.radius) * n + dx + a.radius;
      const int64_t from = a.mirrored ? (n * n - 1 - d) * a.plane() + int64_t{y + dy} * a.width + x + dx
                                      : d * a.plane() + int64_t{y} * a.width + x;
      const A g = widen<A>(grad_out[from]);
      const A* values = shared + ((threadIdx.y + dy + a.radius) * columns + threadIdx.x + dx + a.radius) * N;
#pragma unroll
      for (int k = 0; k < N; k += kPack) {
        const auto v = load_pack<A, kPack>(values + k);
#pragma unroll
        for (int i = 0; i < kPack; ++i) sum[k + i] += g * v.at[i];
      }
    }
  }
  grad += (at.b * a.channels + start) * a.plane() + int64_t{y} * a.width + x;
#pragma unroll
  for (int k = 0; k < N; ++k) {
    if (start + k < a.channels) grad[k * a.plane()] = narrow_to<T>(sum[k] / A(a.channels));
  }
}

// Calls run(T(), A()) with the element type and the compute type, float64 for float64 only.
template <class Run>
void with_correlation_types(Dtype dtype, Run&& run) {
  if (dtype == Dtype::kFloat64) return run(double(), double());
  if (dtype == Dtype::kFloat32) return run(float(), float());
  if (dtype == Dtype::kFloat16) return run(Half(), float());
  run(BFloat16(), float());
}

template <int D, class T, class A>
void launch_correlation_columns(const T* first, const T* second, T* out, const CorrelationArgsGpu& a,
                                cudaStream_t stream, A) {
  const int64_t parts = ceil_div(a.side(), D) * ceil_div(a.side(), kDyPerBlock);
  VFI_LAUNCH((correlation_kernel<T, A, D>), tile_blocks(a, parts), dim3(kAcross, kTileHeight, kDyPerBlock), 0, stream,
             first, second, out, a);
}

inline void launch_correlation(const void* first, const void* second, void* out, Dtype dtype,
                               const CorrelationArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.plane() == 0) return;
  with_correlation_types(dtype, [&](auto element, auto compute) {
    using T = decltype(element);
    const T *p = static_cast<const T*>(first), *q = static_cast<const T*>(second);
    T* to = static_cast<T*>(out);
    // Four kernels serve the nine radii with few sums in vain: at most 4 columns, of 15.
    switch (a.radius) {
      case 1: return launch_correlation_columns<3>(p, q, to, a, stream, compute);
      case 2: case 5: case 7: return launch_correlation_columns<5>(p, q, to, a, stream, compute);
      case 3: case 6: case 9: return launch_correlation_columns<7>(p, q, to, a, stream, compute);
      default: return launch_correlation_columns<9>(p, q, to, a, stream, compute);
    }
  });
}

// `other` is the map that it is not the gradient of.
inline void launch_correlation_grad(const void* grad_out, const void* other, void* grad, Dtype dtype,
                                    const CorrelationArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.channels * a.plane() == 0) return;
  with_correlation_types(dtype, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    constexpr int N = kChannels<A>;
    const int32_t halo = 2 * a.radius;
    const size_t bytes = sizeof(A) * N * (kTileHeight + halo) * (kTileWidth + halo);
    VFI_LAUNCH((correlation_grad_kernel<T, A>), tile_blocks(a, ceil_div(a.channels, N)),
               dim3(kTileWidth, kTileHeight), bytes, stream, static_cast<const T*>(grad_out),
               static_cast<const T*>(other), static_cast<T*>(grad), a);
  });
}

}  // namespace vfi::cuda
