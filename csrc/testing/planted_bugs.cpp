// Kernels with one mistake each: the tests show that the emulation finds them.
#include "testing/planted_bugs.h"

#include "testing/cuda_emulation.h"

#include "cuda/launch.cuh"

namespace vfi::testing {
namespace {

constexpr int kBlock = 64;

__global__ void reverse_kernel(const float* in, float* out, bool with_barrier) {
  VFI_DYNAMIC_SHARED(float, shared);
  shared[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = shared[kBlock - 1 - threadIdx.x];
}

__global__ void divergent_block_kernel(float* out) {
  if (threadIdx.x < 7) {
    __syncthreads();
  } else if (threadIdx.x < 20) {
    __syncwarp();
  }
  out[threadIdx.x] = 1;
}

__global__ void divergent_warp_kernel(float* out) {
  if (threadIdx.x < 16) return;
  out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, out[threadIdx.x], 16);
}

__global__ void out_of_bounds_kernel(float* out, int offset) { out[static_cast<int>(threadIdx.x) + offset] = 1; }

__global__ void ordered_sum_kernel(const float* in, float* out) { atomicAdd(out, in[threadIdx.x]); }

}  // namespace

void reverse(const float* in, float* out, bool with_barrier) {
  VFI_LAUNCH(reverse_kernel, 1, kBlock, kBlock * sizeof(float), nullptr, in, out, with_barrier);
}
void divergent_block(float* out) { VFI_LAUNCH(divergent_block_kernel, 1, kBlock, 0, nullptr, out); }
void divergent_warp(float* out) { VFI_LAUNCH(divergent_warp_kernel, 1, kBlock, 0, nullptr, out); }
void out_of_bounds(float* out, int offset) { VFI_LAUNCH(out_of_bounds_kernel, 1, kBlock, 0, nullptr, out, offset); }
void ordered_sum(const float* in, float* out) { VFI_LAUNCH(ordered_sum_kernel, 1, kBlock, 0, nullptr, in, out); }

}  // namespace vfi::testing
