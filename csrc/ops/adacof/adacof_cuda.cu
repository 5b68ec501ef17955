// adacof on CUDA: tensors and registration. The kernels are in adacof_kernels.cuh and adacof_grad_*kernels.cuh.
#include <tuple>

#include "splatting/splat_tensors_gpu.h"
#include "ops/adacof/adacof_checks.h"
#include "ops/adacof/adacof_grad_image_kernels.cuh"
#include "ops/adacof/adacof_grad_kernels.cuh"

namespace vfi::cuda {
namespace {

AdacofArgsGpu adacof_args(const Tensor& image, const Tensor& weights, const Tensor& vertical, const Tensor& horizontal,
                          int64_t side, int64_t dilation) {
  const auto narrow = [](int64_t x) { return static_cast<int32_t>(x); };
  return {image.size(0),
          narrow(image.size(1)),
          narrow(image.size(2)),
          narrow(image.size(3)),
          narrow(weights.size(2)),
          narrow(weights.size(3)),
          narrow(side),
          narrow(dilation),
          view_of(weights),
          view_of(vertical),
          view_of(horizontal)};
}

ScalarType compute_type(const Tensor& image, const AdacofArgsGpu& a) {
  return image.scalar_type() == ScalarType::Double || a.wide() ? ScalarType::Double : ScalarType::Float;
}

// Memory for packs of the image's channels, of the compute type.
Tensor empty_packs(const Tensor& image, const AdacofArgsGpu& a) {
  return empty(image, {a.batch, a.groups(), a.in_height, a.in_width, kAdacofGroup}, compute_type(image, a));
}

Tensor packs_of(const Tensor& image, const AdacofArgsGpu& a, cudaStream_t stream) {
  const Tensor dense = with_layout(image, MemoryFormat::Contiguous), packs = empty_packs(image, a);
  launch_adacof_pack(dense.const_data_ptr(), packs.mutable_data_ptr(), dtype_of(image), a, stream);
  return packs;
}

Tensor adacof(Tensor image, Tensor weights, Tensor offsets_vertical, Tensor offsets_horizontal, int64_t dilation) {
  const int64_t side = check_adacof(image, weights, offsets_vertical, offsets_horizontal, dilation);
  const OnDevice device(image);
  const AdacofArgsGpu args = adacof_args(image, weights, offsets_vertical, offsets_horizontal, side, dilation);
  const Tensor packs = packs_of(image, args, device.stream);
  const Tensor out =
      result(image, {image.size(0), image.size(1), weights.size(2), weights.size(3)}, image.scalar_type());
  launch_adacof(packs.const_data_ptr(), out.mutable_data_ptr(), dtype_of(image), args, device.stream);
  device.check_launches();
  return with_layout(out, layout_of(image));
}

std::tuple<Tensor, Tensor, Tensor, Tensor> adacof_grad(Tensor grad_out, Tensor image, Tensor weights,
                                                       Tensor offsets_vertical, Tensor offsets_horizontal,
                                                       int64_t dilation, bool deterministic, bool need_image,
                                                       bool need_weights, bool need_vertical, bool need_horizontal) {
  const int64_t side = check_adacof(image, weights, offsets_vertical, offsets_horizontal, dilation);
  check_grad_out("adacof_grad", grad_out, image, weights);
  const OnDevice device(image);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  const AdacofArgsGpu args = adacof_args(image, weights, offsets_vertical, offsets_horizontal, side, dilation);
  Tensor grad_image = nothing(image, image.scalar_type());
  if (need_image) {
    grad_image = empty(image, {image.size(0), image.size(1), image.size(2), image.size(3)}, image.scalar_type());
    const Tensor sums = empty_packs(image, args);
    const bool wide = compute_type(image, args) == ScalarType::Double;
    const Tensor fixed = scratch<char>(image, deterministic ? adacof_fixed_bytes(args, wide) : 0);
    const Tensor ranges = scratch<AdacofRanges>(image, 1);
    launch_adacof_grad_image(g.const_data_ptr(), sums.mutable_data_ptr(), deterministic ? fixed.mutable_data_ptr() : nullptr,
                             elements<AdacofRanges>(ranges), dtype_of(image), args, device.stream);
    finish_sums(device, sums, grad_image, MemoryFormat::Contiguous, wide);
    grad_image = with_layout(grad_image, layout_of(image));
  }
  const Tensor grad_weights = empty_for(weights, need_weights), grad_vertical = empty_for(offsets_vertical, need_vertical);
  const Tensor grad_horizontal = empty_for(offsets_horizontal, need_horizontal);
  const auto view = [](const Tensor& t, bool needed) { return needed ? mutable_view_of(t) : MutableView{}; };
  if (need_weights || need_vertical || need_horizontal) {
    const Tensor packs = packs_of(image, args, device.stream);
    launch_adacof_grad_taps(
        g.const_data_ptr(), packs.const_data_ptr(),
        {view(grad_weights, need_weights), view(grad_vertical, need_vertical), view(grad_horizontal, need_horizontal)},
        dtype_of(image), args, device.stream);
  }
  device.check_launches();
  return {grad_image, grad_weights, grad_vertical, grad_horizontal};
}

}  // namespace
}  // namespace vfi::cuda

VFI_CUDA_LIBRARY_IMPL(m) {
  m.impl("adacof", TORCH_BOX(&vfi::cuda::adacof));
  m.impl("adacof_grad", TORCH_BOX(&vfi::cuda::adacof_grad));
}
