// adacof on CUDA: tensors and registration. The kernels are in adacof_kernels.cuh and adacof_grad_kernels.cuh.
#include <tuple>

#include "torch/cuda_tensors.h"
#include "ops/adacof/adacof_checks.h"
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

Tensor adacof(Tensor image, Tensor weights, Tensor offsets_vertical, Tensor offsets_horizontal, int64_t dilation) {
  const int64_t side = check_adacof(image, weights, offsets_vertical, offsets_horizontal, dilation);
  const OnDevice device(image);
  const Tensor dense = with_layout(image, MemoryFormat::Contiguous);
  const Tensor out =
      result(image, {image.size(0), image.size(1), weights.size(2), weights.size(3)}, image.scalar_type());
  launch_adacof(dense.const_data_ptr(), out.mutable_data_ptr(), dtype_of(image),
                adacof_args(image, weights, offsets_vertical, offsets_horizontal, side, dilation), device.stream);
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
  const Tensor dense = with_layout(image, MemoryFormat::Contiguous), g = with_layout(grad_out, MemoryFormat::Contiguous);
  const AdacofArgsGpu args = adacof_args(image, weights, offsets_vertical, offsets_horizontal, side, dilation);
  Tensor grad_image = nothing(image, image.scalar_type());
  if (need_image) {
    grad_image = empty(image, {image.size(0), image.size(1), image.size(2), image.size(3)}, image.scalar_type());
    const bool wide = any_float64({&image, &weights, &offsets_vertical, &offsets_horizontal});
    const Tensor sums = wide ? scratch<double>(image, image.numel()) : scratch<float>(image, image.numel());
    launch_adacof_grad_image(g.const_data_ptr(), sums.mutable_data_ptr(), grad_image.mutable_data_ptr(), dtype_of(image),
                             deterministic, args, device.stream);
    grad_image = with_layout(grad_image, layout_of(image));
  }
  const Tensor grad_weights = empty_for(weights, need_weights), grad_vertical = empty_for(offsets_vertical, need_vertical);
  const Tensor grad_horizontal = empty_for(offsets_horizontal, need_horizontal);
  const auto view = [](const Tensor& t, bool needed) { return needed ? mutable_view_of(t) : MutableView{}; };
  if (need_weights || need_vertical || need_horizontal) {
    launch_adacof_grad_taps(
        g.const_data_ptr(), dense.const_data_ptr(),
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
