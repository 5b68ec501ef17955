// What the kernels that read an image at moved positions share: which thread has which pixel and channels, the four
// corners of a position, and sums over the channels of a pixel.
#pragma once

#include <initializer_list>
#include <type_traits>

#include "sampling/bilinear.h"
#include "cuda/launch.cuh"

namespace vfi::cuda {

// Blocks of a forward kernel on one multiprocessor: 48 warps with 40 registers a thread, enough to cover memory's
// latency. Converting half values takes some registers more (sm_100 would keep them in memory).
template <class T, class A>
constexpr int kResident = sizeof(A) == 8 ? 2 : sizeof(T) == 2 ? 5 : 6;

// A block covers some pixels of a row or tile and, with `lanes` threads per pixel, strides over the channels.
// Neighbouring threads have neighbouring addresses: pixels in a contiguous tensor, channels in a channels_last one.
struct PixelGrid {
  int64_t first_batch;
  int32_t first_row, height, width;
  bool channels_last;
  int64_t batch;
  dim3 block;
  int each = 1;  // pixels of a thread, one below the other

  int lanes() const { return static_cast<int>(channels_last ? block.x : block.z); }
  int rows() const { return each * (channels_last ? 1 : static_cast<int>(block.y)); }  // of a block
  int columns() const { return static_cast<int>(channels_last ? block.y : block.x); }
  // Shared memory of sum_over_lanes.
  size_t sum_bytes(int values, size_t element) const { return kThreads * values * element; }
};

// `packs` is the number of channel packs of a pixel. Small images with many channels get several lanes in a contiguous
// tensor too: otherwise there are too few threads to keep the memory busy.
inline PixelGrid pixel_grid(const DenseShape& out, bool channels_last, int packs) {
  constexpr int kColumns = 32, kEnoughBlocks = 1024, kPacksPerLane = 4;
  int lanes = 1;
  PixelGrid g{0, 0, out.height, out.width, channels_last, out.batch, {}, 1};
  if (channels_last) {
    while (lanes < 32 && lanes * kPacksPerLane <= packs) lanes *= 2;
    g.block = dim3(lanes, kThreads / lanes);
  } else {
    const int64_t blocks = out.batch * ceil_div(out.width, kColumns) * ceil_div(out.height, kThreads / kColumns);
    while (lanes < 8 && lanes * kPacksPerLane < packs && blocks * lanes < kEnoughBlocks) lanes *= 2;
    g.block = dim3(kColumns, kThreads / kColumns / lanes, lanes);
  }
  return g;
}

// Calls run(part, blocks): one launch, or several where a grid's y or z would be too large.
template <class Run>
void for_each_launch(const PixelGrid& g, Run&& run) {
  const int64_t row_blocks = ceil_div(g.height, g.rows());
  for (int64_t b = 0; b < g.batch; b += kMaxGrid) {
    for (int64_t row = 0; row < row_blocks; row += kMaxGrid) {
      PixelGrid part = g;
      part.first_batch = b;
      part.first_row = static_cast<int32_t>(row * g.rows());
      run(part, Grid(ceil_div(g.width, g.columns()), grid_size(row_blocks - row), grid_size(g.batch - b)));
    }
  }
}

// The pixel and the channel lane of this thread, the first of its `each`. A block may hang over the border: there `inside` is
// false.
struct Place {
  int64_t b;
  int32_t y, x;
  int lane, lanes;
  bool inside;
};

template <bool kLast, int kEach = 1>
__device__ __forceinline__ Place place(const PixelGrid& g) {
  Place p;
  p.b = g.first_batch + blockIdx.z;
  p.lane = kLast ? threadIdx.x : threadIdx.z;
  p.lanes = kLast ? blockDim.x : blockDim.z;
  p.y = g.first_row + (kLast ? blockIdx.y : blockIdx.y * blockDim.y + threadIdx.y) * kEach;
  p.x = kLast ? blockIdx.x * blockDim.y + threadIdx.y : blockIdx.x * blockDim.x + threadIdx.x;
  p.inside = p.y < g.height && p.x < g.width;
  return p;
}

// join(one, other) of each value over the lanes of a pixel, in the order of the lanes; lane 0 gets the result. Every thread of
// the block has to call it, once.
template <bool kLast, class V, int N, class Join>
__device__ __forceinline__ void join_lanes(const Place& p, V (&values)[N], Join&& join) {
  if (p.lanes == 1) return;
  VFI_DYNAMIC_SHARED(V, shared);
  const int pixels = kThreads / p.lanes;
  const int pixel = kLast ? threadIdx.y : threadIdx.y * blockDim.x + threadIdx.x;
  for (int n = 0; n < N; ++n) shared[(n * p.lanes + p.lane) * pixels + pixel] = values[n];
  __syncthreads();
  if (p.lane != 0) return;
  for (int n = 0; n < N; ++n) {
    for (int i = 1; i < p.lanes; ++i) values[n] = join(values[n], shared[(n * p.lanes + i) * pixels + pixel]);
  }
}

template <bool kLast, class A, int N>
__device__ __forceinline__ void sum_over_lanes(const Place& p, A (&values)[N]) {
  join_lanes<kLast>(p, values, [](A one, A other) { return one + other; });
}

template <class T, class A, int R, int M>
__device__ __forceinline__ void load_column_as(const ConstView& view, int64_t offset, const int32_t (&y)[R],
                                               A (&values)[R][M]) {
  const T* at = static_cast<const T*>(view.data) + (offset + y[0] * view.strides.row);
#pragma unroll
  for (int r = 0; r < R; ++r) {
    if (r > 0) at += y[r] > y[r - 1] ? view.strides.row : 0;
    load_as<T>(at, 0, view.strides.channel, values[r]);
  }
}

// Channels 0 ... M - 1 of R pixels of a column: y[r] is y[r - 1] or the next row.
template <class A, int R, int M>
__device__ __forceinline__ void load_column(const ConstView& view, int64_t b, const int32_t (&y)[R], int32_t x,
                                            A (&values)[R][M]) {
  const int64_t offset = view.strides.offset(b, 0, 0, x);
  switch (view.dtype) {
    case Dtype::kFloat64: return load_column_as<double>(view, offset, y, values);
    case Dtype::kFloat32: return load_column_as<float>(view, offset, y, values);
    case Dtype::kFloat16: return load_column_as<Half>(view, offset, y, values);
    default: load_column_as<BFloat16>(view, offset, y, values);
  }
}

template <class T, class A, int M>
__device__ __forceinline__ void store_as(void* data, int64_t offset, int64_t step, const A (&values)[M]) {
#pragma unroll
  for (int m = 0; m < M; ++m) narrow(values[m], static_cast<T*>(data)[offset + m * step]);
}

// Channels c ... c + M - 1 of a pixel.
template <class A, int M>
__device__ __forceinline__ void store_channels(const MutableView& view, int64_t b, int64_t c, int32_t y, int32_t x,
                                               const A (&values)[M]) {
  const int64_t offset = view.strides.offset(b, c, y, x), step = view.strides.channel;
  switch (view.dtype) {
    case Dtype::kFloat64: return store_as<double>(view.data, offset, step, values);
    case Dtype::kFloat32: return store_as<float>(view.data, offset, step, values);
    case Dtype::kFloat16: return store_as<Half>(view.data, offset, step, values);
    default: store_as<BFloat16>(view.data, offset, step, values);
  }
}

// The corners of one position, in row-major order: corner k is pixel (y0 + k / 2, x0 + k % 2).
template <class A>
struct Corners {
  A weight[4];
  bool used[4];

  __device__ __forceinline__ bool any() const { return used[0] || used[1] || used[2] || used[3]; }
};

template <class A>
__device__ __forceinline__ Corners<A> corners(const Axis<A>& x, const Axis<A>& y) {
  Corners<A> c{};
  for_each_corner(x, y, [&](int j, int i, A weight) {
    c.weight[2 * j + i] = weight;
    c.used[2 * j + i] = true;
  });
  return c;
}

// d weight / d fx and d weight / d fy; `reads` are the corners that either of them uses.
template <class A>
struct CornerSlopes {
  A dx[4], dy[4];
  bool uses_dx[4], uses_dy[4], reads[4];
};

template <class A>
__device__ __forceinline__ CornerSlopes<A> corner_slopes(const Axis<A>& x, const Axis<A>& y) {
  CornerSlopes<A> s{};
  for_each_corner_dx(x, y, [&](int j, int i, A slope) {
    s.dx[2 * j + i] = slope;
    s.uses_dx[2 * j + i] = true;
  });
  for_each_corner_dx(y, x, [&](int i, int j, A slope) {
    s.dy[2 * j + i] = slope;
    s.uses_dy[2 * j + i] = true;
  });
  for (int k = 0; k < 4; ++k) s.reads[k] = s.uses_dx[k] || s.uses_dy[k];
  return s;
}

// How far corner k is from corner 0.
__device__ __forceinline__ int64_t corner_step(const DenseShape& s, int k) {
  return (k & 1 ? s.pixel_stride() : 0) + (k & 2 ? s.row_stride() : 0);
}

// The pack of N channels at `at` of each corner that is wanted, 0 for the others.
template <class T, int N>
__device__ __forceinline__ void load_corners(const T* at, const DenseShape& s, const bool (&wanted)[4],
                                             Pack<T, N> (&v)[4]) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    v[k] = Pack<T, N>{};
    if (wanted[k]) v[k] = load_pack<T, N>(at + corner_step(s, k));
  }
}

// sum over the used corners of weight * value. It starts from -0, so that a single corner of weight 1 keeps its bits.
template <class A, class T, int N>
__device__ __forceinline__ A interpolate(const Corners<A>& c, const Pack<T, N> (&v)[4], int n) {
  A sum = c.any() ? A(-0.0) : A(0);
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (c.used[k]) sum += c.weight[k] * widen<A>(v[k].at[n]);
  }
  return sum;
}

// sum_x += g sum_k (d weight_k / d fx) value_k, and the same for y.
template <class A, class T, int N>
__device__ __forceinline__ void add_slopes(const CornerSlopes<A>& s, const Pack<T, N> (&v)[4], int n, A g, A& sum_x,
                                           A& sum_y) {
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const A value = g * widen<A>(v[k].at[n]);
    if (s.uses_dx[k]) sum_x += s.dx[k] * value;
    if (s.uses_dy[k]) sum_y += s.dy[k] * value;
  }
}

template <class A>
struct Position {
  Axis<A> x, y;
};

// Where pixel (y, x) points in an image of this size.
template <class A>
__device__ __forceinline__ Position<A> position(A flow_x, A flow_y, Padding padding, int32_t height, int32_t width,
                                                int32_t y, int32_t x) {
  return {padded_axis(padding, flow_x, x, width), padded_axis(padding, flow_y, y, height)};
}

// How a kernel reads images: N channels at a time, contiguous or channels_last.
template <int N_, bool kLast_>
struct Access {
  static constexpr int N = N_;
  static constexpr bool kLast = kLast_;
  static constexpr int kUnroll = N > 1 ? 1 : kLast ? 2 : 4;  // packs whose loads are in flight together
};

// Calls run(access, grid) for the pixels of `out`; N is the largest pack of channels, up to 16 bytes, that layout and
// addresses allow. Float64 serves tests of gradients and stays with single elements, which spares its kernels.
template <class T, class A, class Run>
void with_access(const DenseShape& image, const DenseShape& out, std::initializer_list<const void*> pointers,
                 Run&& run) {
  constexpr int N = sizeof(A) == 4 ? 16 / static_cast<int>(sizeof(T)) : 1;
  bool packed = N > 1 && image.channels_last && image.channels % N == 0;
  for (const void* p : pointers) packed = packed && reinterpret_cast<uintptr_t>(p) % 16 == 0;
  if (packed) {
    run(Access<N, true>(), pixel_grid(out, true, image.channels / N));
  } else if (image.channels_last) {
    run(Access<1, true>(), pixel_grid(out, true, image.channels));
  } else {
    run(Access<1, false>(), pixel_grid(out, false, image.channels));
  }
}

}  // namespace vfi::cuda
