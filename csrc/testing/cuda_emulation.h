// Runs CUDA kernel source on the CPU, so that kernel bodies can be tested without a GPU. Tests only: slow, and no model
// of the memory system. This header stands in for cuda_runtime.h, cuda_fp16.h and cuda_bf16.h; the scheduler is in
// cuda_emulation.cpp.
//
// Covered: grid and block indices, static and dynamic shared memory, __syncthreads, full-mask warp primitives, atomics,
// half and bfloat16 as storage. Not covered (throws or does not compile): partial masks, inline PTX, asynchronous
// copies, tensor cores, cooperative groups.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>

#define VFI_CUDA_EMULATION
#ifndef VFI_EMULATED_LIBRARY
#define VFI_EMULATED_LIBRARY vfi_emulated  // where the ops are registered
#endif
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct uint3 {
  unsigned x, y, z;
};
inline uint3 threadIdx, blockIdx;
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess = 0 };
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  if (bytes) std::memset(data, value, bytes);
  return cudaSuccess;
}
// What host code asks of the device, and of a kernel that wants more shared memory than every launch may have.
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int) {
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* to, cudaDeviceAttr attribute, int) {
  *to = attribute == cudaDevAttrMultiProcessorCount            ? 4
        : attribute == cudaDevAttrComputeCapabilityMajor       ? 9
        : attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin ? 227 * 1024
                                                               : 0;
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* to, Kernel, int, size_t) {
  return *to = 2, cudaSuccess;
}

namespace vfi::emulation {

enum class Barrier { kWarp, kBlock };

// Runs `body` once per thread of the grid. Throws on a barrier that some live threads never reach.
void launch(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);
void wait(Barrier barrier);
// Order of threads and blocks: 0 is the natural order, any other value a random one.
void set_seed(unsigned seed);
// While on, launches are checked and counted, but no thread runs: for shapes that are too large to compute here.
void set_idle(bool idle);
int64_t launches();
unsigned char* dynamic_shared();
// Gives `value` to the warp and returns the one of `lane`; every lane of the warp has to call it.
uint64_t exchange(uint64_t value, int lane);
unsigned ballot(bool predicate);
int lane();

inline void check_full(unsigned mask) {
  if (mask != 0xffffffffu) throw std::runtime_error("cuda emulation: partial masks are not covered");
}

template <class T>
T shuffle(unsigned mask, T value, int lane) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  check_full(mask);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = exchange(bits, lane);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace vfi::emulation

inline void __syncthreads() { vfi::emulation::wait(vfi::emulation::Barrier::kBlock); }
inline void __syncwarp(unsigned mask = 0xffffffffu) {
  vfi::emulation::check_full(mask);
  vfi::emulation::wait(vfi::emulation::Barrier::kWarp);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
  return vfi::emulation::shuffle(mask, value, lane & (warpSize - 1));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits) {
  return vfi::emulation::shuffle(mask, value, vfi::emulation::lane() ^ bits);
}
// A lane whose partner would be outside the warp keeps its own value.
template <class T>
T __shfl_up_sync(unsigned mask, T value, int delta) {
  const int lane = vfi::emulation::lane();
  return vfi::emulation::shuffle(mask, value, lane - delta >= 0 ? lane - delta : lane);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, int delta) {
  const int lane = vfi::emulation::lane();
  return vfi::emulation::shuffle(mask, value, lane + delta < warpSize ? lane + delta : lane);
}
inline unsigned __ballot_sync(unsigned mask, bool predicate) {
  vfi::emulation::check_full(mask);
  return vfi::emulation::ballot(predicate);
}
inline int __any_sync(unsigned mask, bool predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __popc(unsigned bits) { return std::popcount(bits); }
inline int __ffs(int bits) { return bits == 0 ? 0 : std::countr_zero(static_cast<unsigned>(bits)) + 1; }
inline int __clz(int bits) { return std::countl_zero(static_cast<unsigned>(bits)); }

// One thread runs at a time and only gives way at barriers, so a plain update is atomic.
template <class T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <class T>
T atomicExch(T* address, T value) {
  const T old = *address;
  *address = value;
  return old;
}
template <class T>
T atomicMax(T* address, T value) {
  const T old = *address;
  *address = std::max(old, value);
  return old;
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
using std::max;
using std::min;
inline float __expf(float x) { return std::exp(x); }
// Towards 0; the nearest integer that there is, and 0 for NaN.
inline int __double2int_rz(double x) {
  return x != x ? 0 : x <= -2147483648.0 ? -2147483647 - 1 : x >= 2147483647.0 ? 2147483647 : static_cast<int>(x);
}
inline int __float2int_rz(float x) { return __double2int_rz(x); }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(uint64_t{x} * y >> 32); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline int __float2int_rd(float x) {  // what is no int32 becomes the nearest one, NaN 0
  return x != x ? 0 : static_cast<int>(std::min(std::max(std::floor(double{x}), -2147483648.0), 2147483647.0));
}
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = x | static_cast<uint64_t>(y) << 32;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) result |= static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
  return result;
}
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }

// Storage types; the compiler's own half does the rounding, bfloat16 rounds to nearest even here.
struct __half {
  unsigned short bits;
};
struct __nv_bfloat16 {
  unsigned short bits;
};
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline float __half2float(__half h) { return static_cast<float>(std::bit_cast<_Float16>(h.bits)); }
inline __half __float2half_rn(float x) { return {std::bit_cast<unsigned short>(static_cast<_Float16>(x))}; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return {bits}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 b) { return b.bits; }
inline float __bfloat162float(__nv_bfloat16 b) { return __uint_as_float(static_cast<unsigned>(b.bits) << 16); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return {static_cast<unsigned short>((bits >> 16) | 0x40)};
  return {static_cast<unsigned short>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}
// Pairs of half values. A product of two and a third number fit a double, which is rounded once.
struct __half2 {
  __half x, y;
};
inline __half __half_of(double x) { return {std::bit_cast<unsigned short>(static_cast<_Float16>(x))}; }
inline __half2 __float2half2_rn(float x) { return {__float2half_rn(x), __float2half_rn(x)}; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  const auto fma = [](__half x, __half y, __half z) {
    return __half_of(static_cast<double>(__half2float(x)) * __half2float(y) + __half2float(z));
  };
  return {fma(a.x, b.x, c.x), fma(a.y, b.y, c.y)};
}
inline __half2 __hmax2(__half2 a, __half2 b) {
  const auto larger = [](__half x, __half y) { return __half2float(x) < __half2float(y) ? y : x; };
  return {larger(a.x, b.x), larger(a.y, b.y)};
}
inline __half2 __hmul2(__half2 a, __half2 b) {
  return {__float2half_rn(__half2float(a.x) * __half2float(b.x)), __float2half_rn(__half2float(a.y) * __half2float(b.y))};
}

// Launches and dynamic shared memory, as cuda/launch.cuh has them for CUDA.
#define VFI_DYNAMIC_SHARED(type, name) type* name = reinterpret_cast<type*>(vfi::emulation::dynamic_shared())
#define VFI_LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
  ((void)(stream), ::vfi::emulation::launch(::vfi::cuda::checked_grid(grid), block, shared_bytes, [&] { kernel(__VA_ARGS__); }))
