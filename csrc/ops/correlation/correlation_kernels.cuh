// Local correlation and its gradients on CUDA; the formulas are in correlation.h. Contiguous tensors.
//
// Forward: a block has a tile of points and kDyPerBlock displacements along y, one per layer of threads. Some channels of
// both maps are staged in shared memory at a time; a thread keeps the sums of kPixels neighbouring points and D
// displacements along x in registers. `second` is staged if neighbouring points are neighbouring pixels, and displacements
// Step pixels apart; with Step 0, everything else, it is read where it lies. Gradients: a thread has one pixel and the sums
// of N channels, and goes through the displacements; the other map is staged with its halo where that fits. Every sum has
// one owner and a fixed order.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

struct CorrelationArgsGpu {
  int64_t batch;
  int32_t channels;
  CorrelationAxis<int32_t> v, h;
  double divisor;
  Cost cost;
  bool wide;      // forward: into the compute type
  bool mirrored;  // gradient of `second`

  VFI_HOST_DEVICE int64_t plane() const { return int64_t{v.size} * h.size; }
  VFI_HOST_DEVICE int64_t points() const { return int64_t{v.points} * h.points; }
  VFI_HOST_DEVICE int64_t outputs() const { return int64_t{v.outputs} * h.outputs; }
  VFI_HOST_DEVICE int64_t displacements() const { return int64_t{v.count} * h.count; }
  // What blocks divide: points, in a gradient the owner's pixels.
  VFI_HOST_DEVICE int32_t rows(bool gradient) const { return gradient ? v.size : v.points; }
  VFI_HOST_DEVICE int32_t columns(bool gradient) const { return gradient ? h.size : h.points; }
};

constexpr int kTileWidth = 32, kTileHeight = 8;  // pixels of a block

// A block's place: sample, tile, and `part` of the work that tiles are cut into, which goes fastest: parts share data.
struct TilePlace {
  int64_t b;
  int32_t y, x, part;
};

template <bool kGradient>
__device__ __forceinline__ TilePlace tile_place(const CorrelationArgsGpu& a, int32_t parts) {
  const int32_t across = (a.columns(kGradient) + kTileWidth - 1) / kTileWidth;
  const int32_t down = (a.rows(kGradient) + kTileHeight - 1) / kTileHeight;
  const int32_t tile = blockIdx.x / parts, row = tile / across;
  return {row / down, row % down * kTileHeight, tile % across * kTileWidth, static_cast<int32_t>(blockIdx.x) % parts};
}

template <bool kGradient>
Grid tile_blocks(const CorrelationArgsGpu& a, int64_t parts) {
  return a.batch * ceil_div(a.rows(kGradient), kTileHeight) * ceil_div(a.columns(kGradient), kTileWidth) * parts;
}

// Element (y, x) of a plane, 0 outside.
template <class A, class T>
__device__ __forceinline__ A read_inside(const T* plane, const CorrelationArgsGpu& a, int32_t y, int32_t x) {
  if (!a.v.is_inside(y) || !a.h.is_inside(x)) return A(0);
  return widen<A>(plane[int64_t{y} * a.h.size + x]);
}

constexpr int kPixels = 4, kDyPerBlock = 3, kStaged = 8;  // kStaged: channels in shared memory
constexpr int kAcross = kTileWidth / kPixels;
constexpr int kForwardThreads = kAcross * kTileHeight * kDyPerBlock;

template <class A, int D, int Step>
struct alignas(kPixels * sizeof(A)) Stage {
  static constexpr int kRows = Step == 0 ? 1 : kTileHeight + (kDyPerBlock - 1) * Step;
  static constexpr int kWindow = (kPixels + (D - 1) * Step + kPixels - 1) / kPixels * kPixels;  // what a thread reads
  static constexpr int kColumns = Step == 0 ? kPixels : kTileWidth - kPixels + kWindow;
  A first[kStaged][kTileHeight][kTileWidth];
  A second[kStaged][kRows][kColumns];
};

// kStaged channels of both maps from `start` on, 0 beyond the last; second's rows and columns from those on that the
// tile's first point has with displacements (k, column).
template <class T, class A, int D, int Step>
__device__ __forceinline__ void stage_channels(Stage<A, D, Step>& stage, const T* first, const T* second,
                                               const CorrelationArgsGpu& a, const TilePlace& at, int32_t start,
                                               int32_t k, int32_t column) {
  using Shared = Stage<A, D, Step>;
  const int thread = (threadIdx.z * kTileHeight + threadIdx.y) * kAcross + threadIdx.x;
#pragma unroll 2  // more addresses at a time are more registers than the sums leave
  for (int i = thread; i < kStaged * kTileHeight * kTileWidth; i += kForwardThreads) {
    const int c = i / (kTileHeight * kTileWidth), y = i / kTileWidth % kTileHeight, x = i % kTileWidth;
    const T* plane = first + (start + c) * a.plane();
    stage.first[c][y][x] =
        start + c < a.channels ? read_inside<A>(plane, a, a.v.pixel(at.y + y), a.h.pixel(at.x + x)) : A(0);
  }
  if (Step == 0) return;
  const int32_t top = a.v.pixel(at.y) + a.v.displacement(k), left = a.h.pixel(at.x) + a.h.displacement(column);
#pragma unroll 2
  for (int i = thread; i < kStaged * Shared::kRows * Shared::kColumns; i += kForwardThreads) {
    const int c = i / (Shared::kRows * Shared::kColumns), y = i / Shared::kColumns % Shared::kRows;
    const int x = i % Shared::kColumns;
    const T* plane = second + (start + c) * a.plane();
    stage.second[c][y][x] = start + c < a.channels ? read_inside<A>(plane, a, top + y, left + x) : A(0);
  }
}

template <Cost kCost, class A>
__device__ __forceinline__ A cost_of(A v, A w) {
  if constexpr (kCost == Cost::kDot) return v * w;
  return v < w ? w - v : v - w;  // NaN of NaN
}

template <Cost kCost, class A, int D, int Step>
__device__ __forceinline__ void add_staged(const Stage<A, D, Step>& stage, A (&sum)[kPixels][D]) {
  constexpr int kPacks = Stage<A, D, Step>::kWindow / kPixels;
#pragma unroll 1
  for (int c = 0; c < kStaged; ++c) {
    const auto v = load_pack<A, kPixels>(&stage.first[c][threadIdx.y][threadIdx.x * kPixels]);
    Pack<A, kPixels> window[kPacks];
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      const int y = threadIdx.y + threadIdx.z * Step;
      window[k] = load_pack<A, kPixels>(&stage.second[c][y][(threadIdx.x + k) * kPixels]);
    }
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
#pragma unroll
      for (int d = 0; d < D; ++d) {
        const int i = p + d * Step;
        sum[p][d] += cost_of<kCost>(v.at[p], window[i / kPixels].at[i % kPixels]);
      }
    }
  }
}

// The same for the channels from `start` on, with `second` from memory: row y, and for each point and displacement along x
// a column of its own.
template <Cost kCost, class T, class A, int D, int Step>
__device__ __forceinline__ void add_direct(const Stage<A, D, Step>& stage, const T* second, const CorrelationArgsGpu& a,
                                           int32_t start, int32_t y, int32_t x, int32_t column, A (&sum)[kPixels][D]) {
#pragma unroll 1
  for (int c = 0; c < kStaged && start + c < a.channels; ++c) {
    const T* plane = second + (start + c) * a.plane();
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const A v = stage.first[c][threadIdx.y][threadIdx.x * kPixels + p];
#pragma unroll
      for (int d = 0; d < D; ++d) {
        const A w = read_inside<A>(plane, a, y, a.h.pixel(x + p) + a.h.displacement(column + d));
        sum[p][d] += cost_of<kCost>(v, w);
      }
    }
  }
}

// D displacements along x from `column` on, of the kPixels points from (y, x) on.
template <Cost kCost, class O, class A, int D>
__device__ __forceinline__ void store_means(O* out, const CorrelationArgsGpu& a, int64_t b, int32_t k, int32_t column,
                                            int32_t y, int32_t x, const A (&sum)[kPixels][D]) {
  const int32_t row = a.v.pixel(y), to = row + a.v.displacement(k);
  const bool meets = kCost == Cost::kL1 || (a.v.is_inside(row) && a.v.is_inside(to));
  const A divisor = static_cast<A>(a.divisor);
  out += ((b * a.v.count + k) * a.h.count + column) * a.points() + int64_t{y} * a.h.points + x;
#pragma unroll
  for (int d = 0; d < D; ++d) {
    if (column + d >= a.h.count) break;
    Pack<O, kPixels> mean;
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const int32_t from = a.h.pixel(x + p), by = a.h.displacement(column + d);
      const bool inside = kCost == Cost::kL1 || (a.h.is_inside(from) && a.h.is_inside(from + by));
      mean.at[p] = narrow_to<O>(meets && inside ? sum[p][d] / divisor : A(0));
    }
    O* at = out + d * a.points();
    if (a.h.points % kPixels == 0 && x < a.h.points) {  // fresh memory: aligned wherever the offset is
      store_pack(at, mean);
    } else {
      for (int p = 0; p < kPixels; ++p) {
        if (x + p < a.h.points) at[p] = mean.at[p];
      }
    }
  }
}

template <class T, class A, class O, Cost kCost, int D, int Step>
__global__ __launch_bounds__(kForwardThreads, Step == 0 ? 2 : 3) void correlation_kernel(const T* __restrict__ first,
                                                                      const T* __restrict__ second, O* __restrict__ out,
                                                                      CorrelationArgsGpu a) {
  using Shared = Stage<A, D, Step>;
  __shared__ Shared stage;
  const int32_t chunks = (a.h.count + D - 1) / D, groups = (a.v.count + kDyPerBlock - 1) / kDyPerBlock;
  const TilePlace at = tile_place<false>(a, chunks * groups);
  const int32_t column = at.part % chunks * D, top = at.part / chunks * kDyPerBlock;
  const int32_t x = at.x + threadIdx.x * kPixels, y = at.y + threadIdx.y, k = top + static_cast<int32_t>(threadIdx.z);
  first += at.b * a.channels * a.plane();
  second += at.b * a.channels * a.plane();
  A sum[kPixels][D] = {};
  for (int32_t start = 0; start < a.channels; start += kStaged) {
    stage_channels(stage, first, second, a, at, start, top, column);
    __syncthreads();
    if constexpr (Step > 0) {
      add_staged<kCost>(stage, sum);
    } else {
      add_direct<kCost>(stage, second, a, start, a.v.pixel(y) + a.v.displacement(k), x, column, sum);
    }
    __syncthreads();
  }
  if (y < a.v.points && k < a.v.count) store_means<kCost>(out, a, at.b, k, column, y, x, sum);
}

// Sums of windows of `sums` [B, planes, points], which go to channels `plane` and on of out [B, all_planes, outputs].
template <class T, class A>
__global__ __launch_bounds__(kThreads) void correlation_windows_kernel(const A* __restrict__ sums, T* __restrict__ out,
                                                                       CorrelationArgsGpu a, int64_t plane,
                                                                       int64_t all_planes, double divisor) {
  const int64_t n = int64_t{blockIdx.x} * kThreads + threadIdx.x, planes = a.displacements();
  if (n >= a.batch * planes * a.outputs()) return;
  const int64_t from = n / a.outputs(), pixel = n % a.outputs();
  const int32_t y = static_cast<int32_t>(pixel / a.h.outputs), x = static_cast<int32_t>(pixel % a.h.outputs);
  sums += from * a.points() + int64_t{y} * a.v.jump * a.h.points + x * a.h.jump;
  A sum = 0;
  for (int32_t r = 0; r < a.v.window; ++r, sums += int64_t{a.v.spacing} * a.h.points) {
    for (int32_t c = 0; c < a.h.window; ++c) sum += sums[c * a.h.spacing];
  }
  const int64_t to = from / planes * all_planes + plane + from % planes;
  out[to * a.outputs() + pixel] = narrow_to<T>(sum / static_cast<A>(divisor));
}

// Calls run(T(), A()) with the element type and the compute type, float64 for float64 only.
template <class Run>
void with_correlation_types(Dtype dtype, Run&& run) {
  if (dtype == Dtype::kFloat64) return run(double(), double());
  if (dtype == Dtype::kFloat32) return run(float(), float());
  if (dtype == Dtype::kFloat16) return run(Half(), float());
  run(BFloat16(), float());
}

template <Cost kCost, int D, int Step, class T, class A, class O>
void launch_correlation_columns(const T* first, const T* second, O* out, const CorrelationArgsGpu& a,
                                cudaStream_t stream, A) {
  const int64_t parts = ceil_div(a.h.count, D) * ceil_div(a.v.count, kDyPerBlock);
  VFI_LAUNCH((correlation_kernel<T, A, O, kCost, D, Step>), tile_blocks<false>(a, parts),
             dim3(kAcross, kTileHeight, kDyPerBlock), 0, stream, first, second, out, a);
}

// How far displacements are apart on both axes, if neighbouring points are neighbouring pixels; else 0.
inline int32_t staged_step(const CorrelationArgsGpu& a) {
  const int32_t y = a.v.count == 1 ? a.h.step : a.v.step, x = a.h.count == 1 ? y : a.h.step;
  return a.v.stride == 1 && a.h.stride == 1 && y == x ? x : 0;
}

inline void launch_correlation(const void* first, const void* second, void* out, Dtype dtype,
                               const CorrelationArgsGpu& a, cudaStream_t stream) {
  if (a.batch * a.points() == 0) return;
  with_correlation_types(dtype, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const T *p = static_cast<const T*>(first), *q = static_cast<const T*>(second);
    T* to = static_cast<T*>(out);
    constexpr Cost kDot = Cost::kDot, kL1 = Cost::kL1;
    const int32_t step = staged_step(a);
    const bool narrow = !a.wide || sizeof(T) == sizeof(A), few = a.h.count <= 19;
    if (!narrow) {
      A* sums = static_cast<A*>(out);
      if (a.cost == kL1) return launch_correlation_columns<kL1, 3, 0>(p, q, sums, a, stream, compute);
      return launch_correlation_columns<kDot, 3, 0>(p, q, sums, a, stream, compute);
    }
    if (a.cost == kL1) {
      if (step == 1) return launch_correlation_columns<kL1, 9, 1>(p, q, to, a, stream, compute);
      return launch_correlation_columns<kL1, 3, 0>(p, q, to, a, stream, compute);
    }
    if (step == 2) return launch_correlation_columns<kDot, 5, 2>(p, q, to, a, stream, compute);
    if (step != 1) return launch_correlation_columns<kDot, 3, 0>(p, q, to, a, stream, compute);
    // Four kernels serve the radii up to nine with few sums in vain: at most 4 columns, of 15.
    switch (few ? a.h.count / 2 : 4) {
      case 0: case 1: return launch_correlation_columns<kDot, 3, 1>(p, q, to, a, stream, compute);
      case 2: case 5: case 7: return launch_correlation_columns<kDot, 5, 1>(p, q, to, a, stream, compute);
      case 3: case 6: case 9: return launch_correlation_columns<kDot, 7, 1>(p, q, to, a, stream, compute);
      default: return launch_correlation_columns<kDot, 9, 1>(p, q, to, a, stream, compute);
    }
  });
}

inline void launch_correlation_windows(const void* sums, void* out, Dtype dtype, const CorrelationArgsGpu& a,
                                       int64_t plane, int64_t all_planes, double divisor, cudaStream_t stream) {
  with_correlation_types(dtype, [&](auto element, auto compute) {
    using T = decltype(element);
    using A = decltype(compute);
    const int64_t count = a.batch * a.displacements() * a.outputs();
    VFI_LAUNCH((correlation_windows_kernel<T, A>), Grid(ceil_div(count, kThreads)), kThreads, 0, stream,
               static_cast<const A*>(sums), static_cast<T*>(out), a, plane, all_planes, divisor);
  });
}

}  // namespace vfi::cuda
