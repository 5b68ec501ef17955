// How large the factors of modulated_deform_conv2d's gradient of the input can be, and whether all are finite, for sums in
// fixed point on CUDA.
#pragma once

#include "cuda/fixed_point.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weights.cuh"

namespace vfi::cuda {

// Of grad_out, of the mask, and of the sums of |weight| over the output channels. `odd`: something is not finite.
struct Ranges {
  int grad_out, mask, weight, odd;
};

// `packed`: grad_out is aligned to 16 bytes.
template <class T, class A>
__global__ __launch_bounds__(kThreads) void deform_ranges_kernel(const T* __restrict__ grad_out, const T* __restrict__ weight,
                                                                 Strides strides, DeformArgsGpu a, bool packed,
                                                                 Ranges* __restrict__ to) {
  const DeformGeometry& g = a.g;
  const int64_t thread = int64_t{blockIdx.x} * kThreads + threadIdx.x, threads = int64_t{gridDim.x} * kThreads;
  Magnitude<A> up, mask, sums;
  add_elements(grad_out, a.out.elements(), packed, up);
  up.widen(&to->grad_out, &to->odd);
  if (a.mask.data != nullptr) {
    add_planes(a.mask, {g.B, static_cast<int32_t>(g.offset_groups) * a.taps, a.out.height, a.out.width}, mask);
    mask.widen(&to->mask, &to->odd);
  }
#pragma unroll 1
  for (int64_t i = thread; i < g.C * a.taps; i += threads) {
    const int32_t line = static_cast<int32_t>(i), channel = line / a.taps, tap = line - channel * a.taps;
    const int32_t group = channel / a.group_in, c = channel - group * a.group_in;
    const T* w = weight + strides.offset(int64_t{group} * a.group_out, c, tap / g.KW, tap % g.KW);
    A sum = A(0);
    for (int32_t o = a.group_out; o > 0; --o, w += strides.batch) sum += sums.add(widen<A>(*w));
    sums.add(min(sum, Bits<A>::from(Magnitude<A>::kInfinity - 1)));
  }
  sums.widen(&to->weight, &to->odd);
}

template <class T, class A>
void launch_deform_ranges(const T* grad_out, const T* weight, const Strides& strides, const DeformArgsGpu& a, Ranges* to,
                          cudaStream_t stream) {
  const int64_t blocks = grid_size(ceil_div(a.out.elements() + 1, 32 * kThreads));
  VFI_LAUNCH((deform_ranges_kernel<T, A>), blocks, kThreads, 0, stream, grad_out, weight, strides, a,
             reinterpret_cast<uintptr_t>(grad_out) % 16 == 0, to);
}

}  // namespace vfi::cuda
