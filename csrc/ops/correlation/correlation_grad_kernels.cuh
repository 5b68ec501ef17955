// The gradients of local correlation on CUDA, with any options; see correlation_kernels.cuh. A thread has one pixel and the
// sums of kChannels channels, and goes through the displacements; the other map is staged with its halo where that fits.
#pragma once

#include "ops/correlation/correlation_kernels.cuh"

namespace vfi::cuda {

// Channels of a thread of the gradient kernel: those of radius 9 fit in 48 KB of shared memory.
template <class A>
constexpr int kChannels = sizeof(A) == 8 ? 4 : 8;

// The point at this pixel of `first`, -1 where there is none.
__device__ __forceinline__ int32_t point_at(const CorrelationAxis<int32_t>& axis, int32_t pixel) {
  const int32_t shifted = pixel + axis.padding, point = shifted / axis.stride;
  return shifted >= 0 && shifted % axis.stride == 0 && point < axis.points ? point : -1;
}

// The sum of one displacement's grad_out over the windows that hold point (y, x).
template <class A, class T>
__device__ __forceinline__ A upstream(const T* plane, const CorrelationArgsGpu& a, int32_t y, int32_t x) {
  A sum = 0;
  for (int32_t r = 0; r < a.v.window; ++r, y -= a.v.spacing) {
    if (y < 0 || y % a.v.jump != 0 || y / a.v.jump >= a.v.outputs) continue;
    const T* row = plane + int64_t{y / a.v.jump} * a.h.outputs;
    for (int32_t c = 0, at = x; c < a.h.window; ++c, at -= a.h.spacing) {
      if (at >= 0 && at % a.h.jump == 0 && at / a.h.jump < a.h.outputs) sum += widen<A>(row[at / a.h.jump]);
    }
  }
  return sum;
}

template <class A>
__device__ __forceinline__ A sign_of(A x) {
  return x > A(0) ? A(1) : x < A(0) ? A(-1) : x;  // NaN of NaN
}

// The other map's pixels that a block's owners meet lie from here on, `rows` x `columns` of them.
struct GradHalo {
  int32_t top, left, rows, columns;

  VFI_HOST_DEVICE GradHalo(const CorrelationArgsGpu& a)
      : top(a.mirrored ? -a.v.displacement(a.v.count - 1) : a.v.start),
        left(a.mirrored ? -a.h.displacement(a.h.count - 1) : a.h.start),
        rows(kTileHeight + (a.v.count - 1) * a.v.step),
        columns(kTileWidth + (a.h.count - 1) * a.h.step) {}
};

template <class T, class A, bool kStages>
__device__ __forceinline__ void stage_others(A* shared, const T* other, const CorrelationArgsGpu& a, const TilePlace& at,
                                             const GradHalo& halo, int32_t start) {
  constexpr int N = kChannels<A>;
  if (!kStages) return;
  const int rows = halo.rows, columns = halo.columns;
  for (int i = threadIdx.y * kTileWidth + threadIdx.x; i < N * rows * columns; i += kThreads) {
    const int c = i / (rows * columns), y = i / columns % rows, x = i % columns;
    const T* plane = other + c * a.plane();
    shared[(y * columns + x) * N + c] =
        start + c < a.channels ? read_inside<A>(plane, a, at.y + halo.top + y, at.x + halo.left + x) : A(0);
  }
  __syncthreads();
}

// Pixel (y, x) of N channels of the other map: staged, or where it lies.
template <class T, class A, bool kStages>
__device__ __forceinline__ void read_others(A (&values)[kChannels<A>], const A* staged, const T* other,
                                            const CorrelationArgsGpu& a, int32_t start, int32_t y, int32_t x) {
  constexpr int N = kChannels<A>, kPack = 16 / sizeof(A);
  if constexpr (kStages) {
#pragma unroll
    for (int k = 0; k < N; k += kPack) {
      const auto v = load_pack<A, kPack>(staged + k);
#pragma unroll
      for (int i = 0; i < kPack; ++i) values[k + i] = v.at[i];
    }
  } else {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      values[k] = start + k < a.channels ? read_inside<A>(other + k * a.plane(), a, y, x) : A(0);
    }
  }
}

// As many blocks on one multiprocessor as keep every register out of memory.
template <class T, class A, Cost kCost, bool kStages>
__global__ __launch_bounds__(kThreads, sizeof(A) == 4 ? 4 : 2) void correlation_grad_kernel(const T* __restrict__ grad_out,
                                                                                           const T* __restrict__ owner,
                                                                                           const T* __restrict__ other,
                                                                                           T* __restrict__ grad,
                                                                                           CorrelationArgsGpu a) {
  constexpr int N = kChannels<A>;
  VFI_DYNAMIC_SHARED(A, shared);  // [rows][columns][N]
  const TilePlace at = tile_place<true>(a, (a.channels + N - 1) / N);
  const GradHalo halo(a);
  const int32_t start = at.part * N;
  const int64_t sample = (at.b * a.channels + start) * a.plane();
  other += sample;
  stage_others<T, A, kStages>(shared, other, a, at, halo, start);
  const int32_t x = at.x + threadIdx.x, y = at.y + threadIdx.y;
  if (x >= a.h.size || y >= a.v.size) return;
  grad_out += at.b * a.displacements() * a.outputs();
  [[maybe_unused]] A own[N];
  if constexpr (kCost == Cost::kL1) read_others<T, A, false>(own, nullptr, owner + sample, a, start, y, x);
  A sum[N] = {};
  for (int32_t i = 0; i < a.v.count; ++i) {
    const int32_t k = a.mirrored ? a.v.count - 1 - i : i, to_y = y + halo.top + i * a.v.step;
    const int32_t point_y = point_at(a.v, a.mirrored ? to_y : y);
    if (point_y < 0 || (kCost == Cost::kDot && !a.v.is_inside(to_y))) continue;
    for (int32_t j = 0; j < a.h.count; ++j) {
      const int32_t d = a.mirrored ? a.h.count - 1 - j : j, to_x = x + halo.left + j * a.h.step;
      const int32_t point_x = point_at(a.h, a.mirrored ? to_x : x);
      if (point_x < 0 || (kCost == Cost::kDot && !a.h.is_inside(to_x))) continue;
      const A g = upstream<A>(grad_out + (int64_t{k} * a.h.count + d) * a.outputs(), a, point_y, point_x);
      const int32_t place = (threadIdx.y + i * a.v.step) * halo.columns + threadIdx.x + j * a.h.step;
      A values[N];
      read_others<T, A, kStages>(values, kStages ? shared + place * N : nullptr, other, a, start, to_y, to_x);
#pragma unroll
      for (int c = 0; c < N; ++c) sum[c] += g * (kCost == Cost::kDot ? values[c] : sign_of(own[c] - values[c]));
    }
  }
  grad += sample + int64_t{y} * a.h.size + x;
#pragma unroll
  for (int c = 0; c < N; ++c) {
    if (start + c < a.channels) grad[c * a.plane()] = narrow_to<T>(sum[c] / static_cast<A>(a.divisor));
  }
}

template <Cost kCost, bool kStages, class T, class A>
void launch_grad_staging(const T* grad_out, const T* owner, const T* other, T* grad, const CorrelationArgsGpu& a, size_t bytes,
                 cudaStream_t stream, A) {
  VFI_LAUNCH((correlation_grad_kernel<T, A, kCost, kStages>), tile_blocks<true>(a, ceil_div(a.channels, kChannels<A>)),
             dim3(kTileWidth, kTileHeight), kStages ? bytes : 0, stream, grad_out, owner, other, grad, a);
}

// Of any options.
template <Cost kCost, class T, class A>
void launch_grad_direct(const T* grad_out, const T* owner, const T* other, T* grad, const CorrelationArgsGpu& a,
                        cudaStream_t stream, A compute) {
  constexpr int64_t kPixelBytes = sizeof(A) * kChannels<A>, kShared = 48 << 10;
  const GradHalo halo(a);
  const int64_t pixels = int64_t{halo.rows} * halo.columns;
  if (pixels <= kShared / kPixelBytes) {
    return launch_grad_staging<kCost, true>(grad_out, owner, other, grad, a, pixels * kPixelBytes, stream, compute);
  }
  launch_grad_staging<kCost, false>(grad_out, owner, other, grad, a, 0, stream, compute);
}

}  // namespace vfi::cuda
