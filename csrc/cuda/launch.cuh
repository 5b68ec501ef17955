// The one header that every CUDA kernel includes. For the tests g++ compiles kernels too: the build then includes
// testing/cuda_emulation.h before anything else, in place of CUDA's headers.
#pragma once

#include <cmath>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "base/host_device.h"
#include "base/indexing.h"

#ifndef VFI_CUDA_EMULATION
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define VFI_DYNAMIC_SHARED(type, name)                         \
  extern __shared__ __align__(128) unsigned char name##_raw[]; \
  type* name = reinterpret_cast<type*>(name##_raw)
#define VFI_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  kernel<<<vfi::cuda::checked_grid(grid), block, shared_bytes, stream>>>(__VA_ARGS__)
#endif

namespace vfi::cuda {

constexpr int kThreads = 256;  // per block, everywhere
constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int64_t kMaxGrid = 65535;  // of a grid's y and z; kernels loop over what is beyond

// The blocks of a launch. Every launch passes through checked_grid(): what a grid cannot have is an error here, not one
// that the next launch finds.
struct Grid {
  int64_t x, y, z;
  Grid(int64_t x, int64_t y = 1, int64_t z = 1) : x(x), y(y), z(z) {}
};

inline dim3 checked_grid(const Grid& g) {
  if (g.x < 1 || g.x > std::numeric_limits<int32_t>::max() || g.y < 1 || g.y > kMaxGrid || g.z < 1 || g.z > kMaxGrid) {
    throw std::runtime_error("vfi_kernels: expected at most 2147483647 x 65535 x 65535 blocks, got " +
                             std::to_string(g.x) + " x " + std::to_string(g.y) + " x " + std::to_string(g.z));
  }
  return {static_cast<unsigned>(g.x), static_cast<unsigned>(g.y), static_cast<unsigned>(g.z)};
}

// The number of a block as a place in several dimensions, the innermost one first; `rest` is the place in the outermost.
template <class I>
struct Digits {
  I rest;
  __device__ __forceinline__ std::make_signed_t<I> next(I size) {
    const I at = rest % size;
    rest /= size;
    return at;
  }
};

// A tensor whose dtype and strides are known at run time only: flow, metric, mask and their gradients. Reading it costs
// one uniform branch; a template for each dtype would multiply the number of kernels by four.
template <class Pointer>
struct View {
  Pointer data;
  Dtype dtype;
  Strides strides;
};
using ConstView = View<const void*>;
using MutableView = View<void*>;

// Dense memory of numbers of the type that an op computes in, float or double.
struct Numbers {
  void* data;
  template <class A>
  VFI_HOST_DEVICE A* as() const {
    return static_cast<A*>(data);
  }
};
struct ConstNumbers {
  const void* data;
  template <class A>
  VFI_HOST_DEVICE const A* as() const {
    return static_cast<const A*>(data);
  }
};

template <class A>
__device__ __forceinline__ bool finite(A x) {
  return x - x == A(0);
}

// Towards 0; the nearest integer that there is, and 0 for NaN.
__device__ __forceinline__ int32_t whole_number(float x) { return __float2int_rz(x); }
__device__ __forceinline__ int32_t whole_number(double x) { return __double2int_rz(x); }

template <class A>
__device__ __forceinline__ A widen(Half x) {
  return static_cast<A>(__half2float(__ushort_as_half(x.bits)));
}
template <class A>
__device__ __forceinline__ A widen(BFloat16 x) {
  return static_cast<A>(__bfloat162float(__ushort_as_bfloat16(x.bits)));
}
template <class A>
__device__ __forceinline__ A widen(float x) {
  return static_cast<A>(x);
}
template <class A>
__device__ __forceinline__ A widen(double x) {
  return static_cast<A>(x);
}

template <class A>
__device__ __forceinline__ void narrow(A x, double& to) {
  to = x;
}
template <class A>
__device__ __forceinline__ void narrow(A x, float& to) {
  to = static_cast<float>(x);
}
__device__ __forceinline__ void narrow(float x, Half& to) { to = {__half_as_ushort(__float2half_rn(x))}; }
__device__ __forceinline__ void narrow(float x, BFloat16& to) { to = {__bfloat16_as_ushort(__float2bfloat16_rn(x))}; }

template <class T, class A>
__device__ __forceinline__ T narrow_to(A x) {
  T to;
  narrow(x, to);
  return to;
}

template <class T, class A, int M>
__device__ __forceinline__ void load_as(const void* data, int64_t offset, int64_t step, A (&values)[M]) {
  const T* p = static_cast<const T*>(data) + offset;
  T raw[M];
#pragma unroll
  for (int m = 0; m < M; ++m) raw[m] = p[m * step];
#pragma unroll
  for (int m = 0; m < M; ++m) values[m] = widen<A>(raw[m]);
}

// M channels of the pixel at element `offset`. All are in flight together: one branch on the dtype, not M.
template <class A, int M>
__device__ __forceinline__ void load_from(const ConstView& view, int64_t offset, A (&values)[M]) {
  const int64_t step = view.strides.channel;
  switch (view.dtype) {
    case Dtype::kFloat64: return load_as<double>(view.data, offset, step, values);
    case Dtype::kFloat32: return load_as<float>(view.data, offset, step, values);
    case Dtype::kFloat16: return load_as<Half>(view.data, offset, step, values);
    default: return load_as<BFloat16>(view.data, offset, step, values);
  }
}

// Channels c ... c + M - 1 of a pixel.
template <class A, int M>
__device__ __forceinline__ void load(const ConstView& view, int64_t b, int64_t c, int32_t y, int32_t x,
                                     A (&values)[M]) {
  load_from(view, view.strides.offset(b, c, y, x), values);
}

// Channels 0 ... M - 1.
template <class A, int M>
__device__ __forceinline__ void load(const ConstView& view, int64_t b, int32_t y, int32_t x, A (&values)[M]) {
  load(view, b, int64_t{0}, y, x, values);
}

template <class A>
__device__ __forceinline__ void store(const MutableView& view, int64_t b, int64_t c, int32_t y, int32_t x, A value) {
  const int64_t offset = view.strides.offset(b, c, y, x);
  switch (view.dtype) {
    case Dtype::kFloat64: static_cast<double*>(view.data)[offset] = value; break;
    case Dtype::kFloat32: static_cast<float*>(view.data)[offset] = static_cast<float>(value); break;
    case Dtype::kFloat16: static_cast<Half*>(view.data)[offset] = narrow_to<Half>(static_cast<float>(value)); break;
    default: static_cast<BFloat16*>(view.data)[offset] = narrow_to<BFloat16>(static_cast<float>(value)); break;
  }
}

// N neighbouring elements, moved by one instruction where N * sizeof(T) is 4, 8 or 16.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T at[N];
};

template <class T, int N>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}
template <class T, int N>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
}

// The same bits as another type.
template <class To, class From>
__device__ __forceinline__ To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}

// Four sums at a 16-byte (float) aligned address: one vector reduction on compute capability 9.0 and later.
__device__ __forceinline__ void atomic_add4(float* p, const float (&v)[4]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  atomicAdd(reinterpret_cast<float4*>(p), make_float4(v[0], v[1], v[2], v[3]));
#else
  for (int i = 0; i < 4; ++i) atomicAdd(p + i, v[i]);
#endif
}
__device__ __forceinline__ void atomic_add4(double* p, const double (&v)[4]) {
  for (int i = 0; i < 4; ++i) atomicAdd(p + i, v[i]);
}

// Calls run(T(), A()) with the element type and the compute type: double where any tensor of the op is float64.
template <class Run>
void dispatch(Dtype dtype, bool any_float64, Run&& run) {
  if (dtype == Dtype::kFloat64) {
    run(double(), double());
  } else if (any_float64) {
    if (dtype == Dtype::kFloat32) run(float(), double());
    if (dtype == Dtype::kFloat16) run(Half(), double());
    if (dtype == Dtype::kBFloat16) run(BFloat16(), double());
  } else {
    if (dtype == Dtype::kFloat32) run(float(), float());
    if (dtype == Dtype::kFloat16) run(Half(), float());
    if (dtype == Dtype::kBFloat16) run(BFloat16(), float());
  }
}

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t grid_size(int64_t blocks) { return blocks < kMaxGrid ? blocks : kMaxGrid; }

inline void clear(void* data, size_t bytes, cudaStream_t stream) {
  if (bytes != 0 && cudaMemsetAsync(data, 0, bytes, stream) != cudaSuccess) {
    throw std::runtime_error("vfi_kernels: cudaMemsetAsync failed");
  }
}

}  // namespace vfi::cuda
