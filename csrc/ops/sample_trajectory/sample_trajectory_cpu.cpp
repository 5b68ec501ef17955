// Flows along a trajectory on the CPU: tensors in, tensors out. The kernels are in sample_trajectory_simd.cpp.
#include <functional>
#include <tuple>

#include <torch/csrc/stable/library.h>

#include "cpu/scratch.h"
#include "trajectories/trajectory_tensors.h"
#include "ops/sample_trajectory/sample_trajectory.h"

namespace vfi {
namespace {

constexpr const char* kOp = "sample_trajectory";

bool is_wide(const Tensor& keyframes, const Tensor& taus) {
  return keyframes.scalar_type() == ScalarType::Double || taus.scalar_type() == ScalarType::Double;
}

// work(begin, end, memory) for `rows` rows of `work_per_row` operations on all threads, each with its own memory.
void for_all_rows(int64_t rows, int64_t work_per_row, int64_t memory_bytes,
                  const std::function<void(int64_t, int64_t, void*)>& work) {
  parallel_for(0, rows, 1 + 32768 / (1 + work_per_row), [&](int64_t begin, int64_t end) {
    const Scratch memory(memory_bytes);
    work(begin, end, memory.data());
  });
}

Tensor sample_trajectory(const Tensor& keyframes, const Tensor& taus, int64_t height, int64_t width, double first,
                         double step, double a, int64_t boundary, bool extrapolate, bool derivative) {
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  const bool wide = is_wide(keyframes, taus);
  const TrajectoryTensors tensors(kOp, keyframes, taus, height, width, curve, derivative, wide);
  const int64_t batch = keyframes.size(0), count = taus.size(1);
  const Tensor out = result(keyframes, {batch, 2 * count, height, width}, keyframes.scalar_type());
  const SampleArgs args{tensors.path(), out.mutable_data_ptr(), batch, wide};
  const int64_t bytes = run_memory_bytes(curve, wide);
  if (out.numel() > 0) {
    for_all_rows(batch * height, width * count, bytes, [&](int64_t begin, int64_t end, void* memory) {
      VFI_CPU_KERNEL(sample_rows)(args, begin, end, memory);
    });
  }
  return with_layout(out, layout_of(keyframes));
}

// Pixels that share tau: the sums of their rows, added in order.
template <class A>
void add_rows(const A* rows, int64_t taus, int64_t height, const Tensor& to) {
  const Dtype type = check_dtype(kOp, "taus", to);
  for (int64_t i = 0; i < taus; ++i) {
    A sum = 0;
    for (int64_t y = 0; y < height; ++y) sum += rows[i * height + y];
    write_as(to.mutable_data_ptr(), type, i, sum);
  }
}

Tensor grad_of_taus(SampleGradArgs args, const Tensor& taus, int64_t batch) {
  const Resize& size = args.path.size;
  const Tensor result =
      empty(taus, {taus.size(0), taus.size(1), taus.size(2), taus.size(3)}, taus.scalar_type());
  const bool shared = args.path.table != nullptr;
  const ScalarType type = args.float64 ? ScalarType::Double : ScalarType::Float;
  const Tensor rows = empty(taus, {shared ? taus.numel() : 0, size.H}, type);
  args.grad_taus = shared ? rows.mutable_data_ptr() : result.mutable_data_ptr();
  const int64_t bytes = run_memory_bytes(args.path.curve, true);
  if (taus.numel() > 0 && size.W > 0) {
    for_all_rows(batch * size.H, size.W * args.path.T, bytes, [&](int64_t begin, int64_t end, void* memory) {
      VFI_CPU_KERNEL(sample_grad_taus)(args, begin, end, memory);
    });
  } else if (shared) {
    torch::stable::zero_(const_cast<Tensor&>(rows));
  }
  if (shared && args.float64) add_rows(static_cast<const double*>(rows.const_data_ptr()), taus.numel(), size.H, result);
  if (shared && !args.float64) add_rows(static_cast<const float*>(rows.const_data_ptr()), taus.numel(), size.H, result);
  return with_layout(result, layout_of(taus));
}

Tensor grad_of_keyframes(SampleGradArgs args, const Tensor& keyframes) {
  const Tensor result = empty(keyframes, {keyframes.size(0), keyframes.size(1), keyframes.size(2), keyframes.size(3)},
                              keyframes.scalar_type());
  args.grad_keyframes = result.mutable_data_ptr();
  const int64_t bytes = (keyframes.size(1) + 2) * keyframes.size(3) * static_cast<int64_t>(sizeof(double));
  if (result.numel() > 0) {
    const int64_t work = args.path.T * args.path.size.W;
    for_all_rows(keyframes.size(0) * keyframes.size(2), work, bytes, [&](int64_t begin, int64_t end, void* memory) {
      VFI_CPU_KERNEL(sample_grad_keyframes)(args, begin, end, memory);
    });
  }
  return with_layout(result, layout_of(keyframes));
}

std::tuple<Tensor, Tensor> sample_trajectory_grad(const Tensor& grad_out, const Tensor& keyframes, const Tensor& taus,
                                                  int64_t height, int64_t width, double first, double step, double a,
                                                  int64_t boundary, bool extrapolate, bool derivative,
                                                  bool need_keyframes, bool need_taus) {
  const Curve curve = check_trajectory(kOp, keyframes, taus, height, width, first, step, a, boundary, extrapolate);
  check_flows(kOp, grad_out, keyframes, taus, height, width);
  const Tensor g = with_layout(grad_out, MemoryFormat::Contiguous);
  const bool wide = is_wide(keyframes, taus);
  Tensor grad_keyframes = nothing(keyframes, keyframes.scalar_type()), grad_taus = nothing(taus, taus.scalar_type());
  SampleGradArgs args{{}, g.const_data_ptr(), nullptr, nullptr, wide};
  if (need_keyframes) {
    const TrajectoryTensors tensors(kOp, keyframes, taus, height, width, curve, derivative, wide);
    args.path = tensors.path();
    grad_keyframes = grad_of_keyframes(args, keyframes);
  }
  if (need_taus) {
    const TrajectoryTensors tensors(kOp, keyframes, taus, height, width, curve, derivative + 1, wide);
    args.path = tensors.path();
    grad_taus = grad_of_taus(args, taus, keyframes.size(0));
  }
  return {grad_keyframes, grad_taus};
}

}  // namespace
}  // namespace vfi

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CPU, m) {
  m.impl("sample_trajectory", TORCH_BOX(&vfi::sample_trajectory));
  m.impl("sample_trajectory_grad", TORCH_BOX(&vfi::sample_trajectory_grad));
}
