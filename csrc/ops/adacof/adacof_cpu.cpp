// adacof on the CPU: tensors in, tensors out. The float32 kernels are in *_simd.cpp, the others in adacof_scalar.h.
#include <algorithm>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "torch/checks.h"
#include "ops/adacof/adacof.h"
#include "ops/adacof/adacof_checks.h"
#include "ops/adacof/adacof_scalar.h"

namespace vfi {
namespace {

// What the kernels read, kept alive.
struct AdacofTensors {
  Tensor image, weights, vertical, horizontal;

  AdacofTensors(const Tensor& image, const Tensor& weights, const Tensor& vertical, const Tensor& horizontal)
      : image(with_layout(image, MemoryFormat::Contiguous)),
        weights(with_layout(weights, MemoryFormat::Contiguous)),
        vertical(with_layout(vertical, MemoryFormat::Contiguous)),
        horizontal(with_layout(horizontal, MemoryFormat::Contiguous)) {}

  AdacofArgs args(int64_t side, int64_t dilation) const {
    const auto narrow = [](int64_t x) { return static_cast<int32_t>(x); };
    AdacofArgs a{};
    a.image = image.const_data_ptr(), a.image_type = check_dtype("adacof", "image", image);
    a.weights = weights.const_data_ptr(), a.weights_type = check_dtype("adacof", "weights", weights);
    a.vertical = vertical.const_data_ptr(), a.vertical_type = check_dtype("adacof", "offsets_vertical", vertical);
    a.horizontal = horizontal.const_data_ptr();
    a.horizontal_type = check_dtype("adacof", "offsets_horizontal", horizontal);
    a.B = image.size(0), a.C = image.size(1), a.in_H = narrow(image.size(2)), a.in_W = narrow(image.size(3));
    a.H = narrow(weights.size(2)), a.W = narrow(weights.size(3)), a.side = narrow(side), a.dilation = narrow(dilation);
    return a;
  }
};

bool is_wide(const AdacofArgs& a) {
  const auto types = {a.image_type, a.weights_type, a.vertical_type, a.horizontal_type};
  return std::find(types.begin(), types.end(), Dtype::kFloat64) != types.end();
}

bool takes_vectors(const AdacofArgs& a) { return fits_vectors(a) && !is_wide(a); }

// Calls use(A(), T()) with the type of the scalar arithmetic and the image's.
template <class Use>
void with_scalar_types(const AdacofArgs& a, const Use& use) {
  with_element_type(a.image_type, [&]<class T>(T) { is_wide(a) ? use(double(), T()) : use(float(), T()); });
}

using RowKernel = void(const AdacofArgs&, int64_t, int64_t);

int64_t row_grain(const AdacofArgs& a) { return 1 + 32768 / (1 + a.taps() * (a.C + 1) * a.W); }

// Output rows on all threads: by vectors, or scalar(b, y).
template <class Scalar>
void for_all_rows(const AdacofArgs& a, RowKernel* vectors, const Scalar& scalar) {
  parallel_for(0, a.B * a.H, row_grain(a), [&](int64_t begin, int64_t end) {
    if (takes_vectors(a)) return vectors(a, begin, end);
    for (int64_t row = begin; row < end; ++row) scalar(row / a.H, static_cast<int32_t>(row % a.H));
  });
}

Tensor adacof(const Tensor& image, const Tensor& weights, const Tensor& offsets_vertical,
              const Tensor& offsets_horizontal, int64_t dilation) {
  const int64_t side = check_adacof(image, weights, offsets_vertical, offsets_horizontal, dilation);
  const AdacofTensors sampled(image, weights, offsets_vertical, offsets_horizontal);
  AdacofArgs a = sampled.args(side, dilation);
  const Tensor out = result(image, {a.B, a.C, weights.size(2), weights.size(3)}, image.scalar_type());
  a.out = out.mutable_data_ptr();
  if (out.numel() > 0) {
    with_scalar_types(a, [&]<class A, class T>(A, T) {
      for_all_rows(a, VFI_CPU_KERNEL(adacof_rows), [&](int64_t b, int32_t y) { scalar_row<A, T>(a, b, y); });
    });
  }
  return with_layout(out, layout_of(image));
}

void add_image_gradient(AdacofArgs a) {
  if (!takes_vectors(a)) {
    return parallel_for(0, a.B * a.C, 1, [&](int64_t begin, int64_t end) {
      with_scalar_types(a, [&]<class A, class T>(A, T) {
        for (int64_t i = begin; i < end; ++i) scalar_grad_image_plane<A, T>(a, i / a.C, i % a.C);
      });
    });
  }
  a.threads = thread_count();
  std::vector<AdacofReach> reach(a.B * a.H * a.taps());
  parallel_for(0, a.B * a.H, row_grain(a), [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(adacof_reach_rows)(a, reach.data(), begin, end);
  });
  parallel_for(0, AdacofBands(a).count, 1, [&](int64_t begin, int64_t end) {
    VFI_CPU_KERNEL(adacof_grad_image_bands)(a, reach.data(), begin, end);
  });
}

std::tuple<Tensor, Tensor, Tensor, Tensor> adacof_grad(const Tensor& grad_out, const Tensor& image, const Tensor& weights,
                                                       const Tensor& offsets_vertical, const Tensor& offsets_horizontal,
                                                       int64_t dilation, bool /*deterministic: always*/,
                                                       bool need_image, bool need_weights, bool need_vertical,
                                                       bool need_horizontal) {
  const int64_t side = check_adacof(image, weights, offsets_vertical, offsets_horizontal, dilation);
  check_grad_out("adacof_grad", grad_out, image, weights);
  const AdacofTensors sampled(image, weights, offsets_vertical, offsets_horizontal);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  AdacofArgs a = sampled.args(side, dilation);
  a.grad_out = g.const_data_ptr();
  const auto fresh = [](const Tensor& x, bool needed) {
    return needed ? empty(x, {x.size(0), x.size(1), x.size(2), x.size(3)}, x.scalar_type()) : nothing(x, x.scalar_type());
  };
  const Tensor grad_image = fresh(image, need_image), grad_weights = fresh(weights, need_weights);
  const Tensor grad_vertical = fresh(offsets_vertical, need_vertical);
  const Tensor grad_horizontal = fresh(offsets_horizontal, need_horizontal);
  if (grad_image.numel() > 0) {
    a.out = grad_image.mutable_data_ptr();
    add_image_gradient(a);
  }
  a.grad_weights = need_weights ? grad_weights.mutable_data_ptr() : nullptr;
  a.grad_vertical = need_vertical ? grad_vertical.mutable_data_ptr() : nullptr;
  a.grad_horizontal = need_horizontal ? grad_horizontal.mutable_data_ptr() : nullptr;
  if (weights.numel() > 0 && (need_weights || need_vertical || need_horizontal)) {
    with_scalar_types(a, [&]<class A, class T>(A, T) {
      for_all_rows(a, VFI_CPU_KERNEL(adacof_grad_taps_rows),
                   [&](int64_t b, int32_t y) { scalar_grad_taps_row<A, T>(a, b, y); });
    });
  }
  const auto laid_out = [](const Tensor& grad, const Tensor& x, bool needed) {
    return needed ? with_layout(grad, layout_of(x)) : grad;
  };
  return {laid_out(grad_image, image, need_image), laid_out(grad_weights, weights, need_weights),
          laid_out(grad_vertical, offsets_vertical, need_vertical),
          laid_out(grad_horizontal, offsets_horizontal, need_horizontal)};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("adacof", TORCH_BOX(&vfi::adacof));
  m.impl("adacof_grad", TORCH_BOX(&vfi::adacof_grad));
}
