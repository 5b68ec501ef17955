// Pixels one below the other, read from a view and written to one.
#pragma once

#include "cuda/launch.cuh"

namespace vfi::cuda {

template <class T, class A, int R, int M>
__device__ __forceinline__ void load_rows_as(const ConstView& view, int64_t offset, A (&values)[R][M]) {
  const T* p = static_cast<const T*>(view.data) + offset;
  T raw[R][M];
#pragma unroll
  for (int r = 0; r < R; ++r, p += view.strides.row) {
#pragma unroll
    for (int m = 0; m < M; ++m) raw[r][m] = p[m * view.strides.channel];
  }
#pragma unroll
  for (int i = 0; i < R * M; ++i) values[i / M][i % M] = widen<A>(raw[i / M][i % M]);
}

// Channels 0 ... M - 1 of pixel (y, x) and those below it.
template <class A, int R, int M>
__device__ __forceinline__ void load_rows(const ConstView& view, int64_t b, int32_t y, int32_t x, A (&values)[R][M]) {
  const int64_t offset = view.strides.offset(b, 0, y, x);
  switch (view.dtype) {
    case Dtype::kFloat64: return load_rows_as<double>(view, offset, values);
    case Dtype::kFloat32: return load_rows_as<float>(view, offset, values);
    case Dtype::kFloat16: return load_rows_as<Half>(view, offset, values);
    default: load_rows_as<BFloat16>(view, offset, values);
  }
}

template <class T, class A, int R, int M>
__device__ __forceinline__ void store_rows_as(const MutableView& view, int64_t offset, const A (&values)[R][M]) {
  T* p = static_cast<T*>(view.data) + offset;
#pragma unroll
  for (int r = 0; r < R; ++r, p += view.strides.row) {
#pragma unroll
    for (int m = 0; m < M; ++m) narrow(values[r][m], p[m * view.strides.channel]);
  }
}

// Channels 0 ... M - 1 of pixel (y, x) and those below it.
template <class A, int R, int M>
__device__ __forceinline__ void store_rows(const MutableView& view, int64_t b, int32_t y, int32_t x,
                                           const A (&values)[R][M]) {
  const int64_t offset = view.strides.offset(b, 0, y, x);
  switch (view.dtype) {
    case Dtype::kFloat64: return store_rows_as<double>(view, offset, values);
    case Dtype::kFloat32: return store_rows_as<float>(view, offset, values);
    case Dtype::kFloat16: return store_rows_as<Half>(view, offset, values);
    default: store_rows_as<BFloat16>(view, offset, values);
  }
}

}  // namespace vfi::cuda
