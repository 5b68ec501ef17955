// A warp's product of 16 x 16 and 16 x 8 elements of 16 bits, its factors and sums one by one: for kernels that choose
// which factors meet, and want their sums in registers. On the tensor cores; elsewhere (the tests' emulation, older
// devices) the second definitions compute the same.
#pragma once

#include "cuda/tensor_cores.cuh"

namespace vfi::cuda {

// The sums of a warp, [16][8]: four of each lane.
struct WarpSums {
  float at[4];
  static __device__ __forceinline__ int row(int i) { return static_cast<int>(threadIdx.x) % 32 / 4 + i / 2 * 8; }
  static __device__ __forceinline__ int column(int i) { return static_cast<int>(threadIdx.x) % 4 * 2 + i % 2; }
};

// Element (row, k) of the left factor, (k, column) of the right one, is at [row][k] with kDepthInside, else at [k][row], of
// shared memory whose lines are kStep elements apart and 16 bytes aligned. A lane reads from at + place() on.
#ifndef VFI_TENSOR_CORES
template <class F, int kStep, bool kDepthInside>
class WarpFactor {
  const F* elements_;

 public:
  static __device__ int place() { return 0; }
  __device__ void load(const F* at, int offset) { elements_ = at + offset; }  // multiplied before it is overwritten
  __device__ float element(int row, int k) const {
    return widen<float>(elements_[kDepthInside ? row * kStep + k : k * kStep + row]);
  }
};
template <class F, int kStep, bool kDepthInside>
using LeftFactor = WarpFactor<F, kStep, kDepthInside>;
template <class F, int kStep, bool kDepthInside>
using RightFactor = WarpFactor<F, kStep, kDepthInside>;

template <class F, class Left, class Right>
__device__ void multiply_add(WarpSums& sums, const Left& left, const Right& right) {
  for (int i = 0; i < 4; ++i) {
    for (int k = 0; k < 16; ++k) sums.at[i] += left.element(sums.row(i), k) * right.element(sums.column(i), k);
  }
}
#else
// ldmatrix brings 8 x 8 elements to the registers where mma.sync m16n8k16 wants them, transposed where k is outside. Eight
// lanes say where the lines of each are.
template <class F, int kStep, bool kDepthInside>
struct LeftFactor {
  unsigned bits[4];

  static __device__ __forceinline__ int place() {
    const int lane = static_cast<int>(threadIdx.x) % 32, line = lane % 8, down = lane & 8, later = lane / 16 * 8;
    return kDepthInside ? (line + down) * kStep + later : (line + later) * kStep + down;
  }
  __device__ __forceinline__ void load(const F* at, int offset) {
    const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(at)) + offset * static_cast<int>(sizeof(F));
    load_matrices<!kDepthInside>(bits, from);
  }
};

template <class F, int kStep, bool kDepthInside>
struct RightFactor {
  unsigned bits[2];

  static __device__ __forceinline__ int place() {
    const int lane = static_cast<int>(threadIdx.x) % 16, line = lane % 8, later = lane & 8;
    return kDepthInside ? line * kStep + later : (line + later) * kStep;
  }
  __device__ __forceinline__ void load(const F* at, int offset) {
    const unsigned from = static_cast<unsigned>(__cvta_generic_to_shared(at)) + offset * static_cast<int>(sizeof(F));
    load_matrices<!kDepthInside>(bits, from);
  }
};

template <class F, class Left, class Right>
__device__ __forceinline__ void multiply_add(WarpSums& sums, const Left& left, const Right& right) {
  multiply_matrices<F>(sums.at, sums.at + 2, left.bits, right.bits[0], right.bits[1]);
}
#endif

}  // namespace vfi::cuda
