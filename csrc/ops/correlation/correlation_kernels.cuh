// Local correlation on CUDA; the formulas are in correlation.h. Contiguous tensors. Every sum has one owner and a fixed
// order.
//
//   correlation_banded_kernels.cuh   half and bfloat16, neighbouring points and displacements: on tensor cores
//   correlation_staged_kernels.cuh   neighbouring points, displacements 1 or 2 pixels apart: both maps in shared memory
//   here                             everything else: `second` is read where it lies; sums of windows
//   correlation_grad_*.cuh           the same for the gradients
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

template <Cost kCost, class A>
__device__ __forceinline__ A cost_of(A v, A w) {
  if constexpr (kCost == Cost::kDot) return v * w;
  return v < w ? w - v : v - w;  // NaN of NaN
}

// kPixels neighbouring sums of one displacement, whose points are at `row` and from x on, in pixels of `first`, are stored
// from `to` on, times `scale`; exactly 0 where cost dot has a pixel outside its map.
template <Cost kCost, int kPixels, class O, class A>
__device__ __forceinline__ void store_sums(O* to, const CorrelationArgsGpu& a, int32_t y, int32_t x, int32_t down,
                                           int32_t right, const A (&sums)[kPixels]) {
  constexpr int kPack = 16 / sizeof(O) < kPixels ? 16 / sizeof(O) : kPixels;
  const A scale = A(1) / static_cast<A>(a.divisor);
  const int32_t row = a.v.pixel(y), low = a.h.pixel(x) + min(right, 0), high = a.h.pixel(x + kPixels - 1) + max(right, 0);
  const bool meets = a.v.is_inside(row) && a.v.is_inside(row + down);
  const bool whole = kCost == Cost::kL1 || (meets && low >= 0 && high < a.h.size);
  Pack<O, kPack> means[kPixels / kPack];
#pragma unroll
  for (int p = 0; p < kPixels; ++p) {
    const int32_t from = a.h.pixel(x + p);
    const bool inside = whole || (meets && a.h.is_inside(from) && a.h.is_inside(from + right));
    means[p / kPack].at[p % kPack] = narrow_to<O>(inside ? sums[p] * scale : A(0));
  }
  if (a.h.points % kPack == 0 && x + kPixels <= a.h.points) {  // fresh memory: aligned wherever the offset is
#pragma unroll
    for (int i = 0; i < kPixels / kPack; ++i) store_pack(to + i * kPack, means[i]);
  } else {
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      if (x + p < a.h.points) to[p] = means[p / kPack].at[p % kPack];
    }
  }
}

constexpr int kPixels = 4, kDirectColumns = 3;  // points of a thread, and displacements along x
constexpr int kDirectRows = kThreads * kPixels / (kTileWidth * kTileHeight);  // of displacements, one for each thread

template <class T, class A, class O, Cost kCost>
__global__ __launch_bounds__(kThreads) void correlation_direct_kernel(const T* __restrict__ first,
                                                                      const T* __restrict__ second, O* __restrict__ out,
                                                                      CorrelationArgsGpu a) {
  constexpr int D = kDirectColumns, kAcross = kTileWidth / kPixels;
  const int32_t chunks = (a.h.count + D - 1) / D;
  const TilePlace at = tile_place<false>(a, chunks * ((a.v.count + kPixels - 1) / kPixels));
  const int32_t thread = threadIdx.x % (kAcross * kTileHeight), column = at.part % chunks * D;
  const int32_t x = at.x + thread % kAcross * kPixels, y = at.y + thread / kAcross;
  const int32_t k = at.part / chunks * kDirectRows + threadIdx.x / (kAcross * kTileHeight);
  if (y >= a.v.points || x >= a.h.points || k >= a.v.count) return;
  first += at.b * a.channels * a.plane();
  second += at.b * a.channels * a.plane();
  A sums[D][kPixels] = {};
#pragma unroll 1
  for (int32_t c = 0; c < a.channels; ++c, first += a.plane(), second += a.plane()) {
#pragma unroll
    for (int p = 0; p < kPixels; ++p) {
      const A v = read_inside<A>(first, a, a.v.pixel(y), a.h.pixel(x + p));
#pragma unroll
      for (int d = 0; d < D; ++d) {
        const A w = read_inside<A>(second, a, a.v.pixel(y) + a.v.displacement(k),
                                   a.h.pixel(x + p) + a.h.displacement(column + d));
        sums[d][p] += cost_of<kCost>(v, w);
      }
    }
  }
  out += ((at.b * a.v.count + k) * a.h.count + column) * a.points() + int64_t{y} * a.h.points + x;
#pragma unroll
  for (int d = 0; d < D; ++d) {
    if (column + d >= a.h.count) break;
    store_sums<kCost>(out + d * a.points(), a, y, x, a.v.displacement(k), a.h.displacement(column + d), sums[d]);
  }
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

// How far displacements are apart on both axes, if neighbouring points are neighbouring pixels; else 0.
inline int32_t staged_step(const CorrelationArgsGpu& a) {
  const int32_t y = a.v.count == 1 ? a.h.step : a.v.step, x = a.h.count == 1 ? y : a.h.step;
  return a.v.stride == 1 && a.h.stride == 1 && y == x ? x : 0;
}

// Whether every `pack` pixels of a map, counted from point 0, are aligned for a load of all.
template <class T>
bool has_aligned_rows(const T* map, const CorrelationArgsGpu& a, int32_t pack) {
  return a.h.size % pack == 0 && a.h.padding % pack == 0 && reinterpret_cast<uintptr_t>(map) % (pack * sizeof(T)) == 0;
}

template <Cost kCost, class T, class A, class O>
void launch_correlation_direct(const T* first, const T* second, O* out, const CorrelationArgsGpu& a, cudaStream_t stream,
                               A) {
  const int64_t parts = ceil_div(a.h.count, kDirectColumns) * ceil_div(a.v.count, kDirectRows);
  VFI_LAUNCH((correlation_direct_kernel<T, A, O, kCost>), tile_blocks<false>(a, parts), kThreads, 0, stream, first, second,
             out, a);
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
