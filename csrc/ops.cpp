// Every schema of vfi_kernels. The kernels register themselves: CPU in <op>/<op>_cpu.cpp, CUDA in <op>/<op>_cuda.cu;
// fake kernels and autograd are in Python (vfi_kernels/ops/<op>/op.py). A gradient op returns an empty tensor of shape
// (0,) for each gradient that is not needed. No argument or result is a string: torch's stable ABI never frees its copy.
// padding_mode, boundary, mode, holes, edge, cost and activation are the numbers of base/options.h.
#include <Python.h>

#include <cstring>
#include <string_view>

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include "build_info.h"
#include "cpu/cpu_dispatch.h"
#include "torch/checks.h"

// The module has no functions: importing it registers the ops. The limited API makes it load in every Python >= 3.10.
PyMODINIT_FUNC PyInit__C(void) {
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  return PyModule_Create(&definition);
}

namespace {
using torch::stable::Tensor;

// The bytes of a text.
Tensor as_tensor(std::string_view text) {
  const Tensor bytes = torch::stable::empty({static_cast<int64_t>(text.size())}, torch::headeronly::ScalarType::Byte);
  std::memcpy(bytes.mutable_data_ptr(), text.data(), text.size());
  return bytes;
}
// What the build knew when it built this library, as JSON.
Tensor build_info() { return as_tensor(VFI_BUILD_INFO); }
// The instruction set that the CPU kernels use in this process: baseline, avx2, avx512, amx, neon or neon_bf16.
Tensor cpu_level() { return as_tensor(vfi::level_name(vfi::cpu_level())); }
// Why that is not the best level of this CPU; or nothing.
Tensor cpu_level_note() {
  return as_tensor(vfi::amx_is_refused() ? "AMX is not used: the operating system does not let this process have it" : "");
}
// For the results of this thread's next op.
void give_results(std::vector<Tensor> tensors) { vfi::given_results() = std::move(tensors); }
// Of this thread's ops, as if the machine had so many threads (0: its own); regions are what they have done since then.
void simulate_threads(int64_t count) { vfi::simulated_threads() = {count, {}}; }
Tensor simulated_regions() {
  const auto& regions = vfi::simulated_threads().regions;
  const Tensor made = torch::stable::empty({static_cast<int64_t>(regions.size()), 4}, torch::headeronly::ScalarType::Double);
  if (!regions.empty()) std::memcpy(made.mutable_data_ptr(), regions.data(), regions.size() * sizeof(regions[0]));
  return made;
}
}  // namespace

STABLE_TORCH_LIBRARY(vfi_kernels, m) {
  m.def("build_info() -> Tensor");
  m.def("cpu_level() -> Tensor");
  m.def("cpu_level_note() -> Tensor");
  m.def("give_results(Tensor[] tensors) -> ()");
  m.def("simulate_threads(int count) -> ()");
  m.def("simulated_regions() -> Tensor");
  // The memory in which routed_conv2d begins: its base outside of the listed patches.
  m.def("patch_rest(Tensor? base, Tensor like, int[] size, Tensor indices, int patch) -> Tensor");

  m.def("backward_warp(Tensor image, Tensor flow, int padding_mode=0) -> Tensor");
  m.def(
      "backward_warp_grad(Tensor grad_out, Tensor image, Tensor flow, int padding_mode, bool deterministic, "
      "bool need_image, bool need_flow) -> (Tensor grad_image, Tensor grad_flow)");

  m.def("warp_blend(Tensor frame0, Tensor frame1, Tensor flow, Tensor mask_logits) -> Tensor");
  m.def(
      "warp_blend_grad(Tensor grad_out, Tensor frame0, Tensor frame1, Tensor flow, Tensor mask_logits, "
      "bool deterministic, bool need_frame0, bool need_frame1, bool need_flow, bool need_mask) "
      "-> (Tensor grad_frame0, Tensor grad_frame1, Tensor grad_flow, Tensor grad_mask_logits)");

  m.def(
      "splat(Tensor[] inputs, Tensor flow, Tensor? metric, int mode, int holes, bool keep_weight, bool deterministic) "
      "-> (Tensor[] outs, Tensor weight, Tensor shift)");
  m.def(
      "splat_grad(Tensor[] grad_outs, Tensor? grad_weight, Tensor[] inputs, Tensor flow, Tensor? metric, "
      "Tensor[] outs, Tensor weight, Tensor shift, int mode, int holes, bool summed, bool need_inputs, bool need_flow, "
      "bool need_metric) -> (Tensor[] grad_inputs, Tensor grad_flow, Tensor grad_metric)");
}

// Cost volumes, and kernels of each pixel's own.
STABLE_TORCH_LIBRARY_FRAGMENT(vfi_kernels, m) {
  // sides: radius, kernel_size, stride, padding, dilation and patch_dilation, each along y and along x.
  m.def(
      "correlation(Tensor first, Tensor second, int[] sides=[4, 4, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1], bool normalize=True, "
      "int cost=0) -> Tensor");
  m.def(
      "correlation_grad(Tensor grad_out, Tensor first, Tensor second, int[] sides, bool normalize, int cost, "
      "bool need_first, bool need_second) -> (Tensor grad_first, Tensor grad_second)");

  m.def(
      "adacof(Tensor image, Tensor weights, Tensor offsets_vertical, Tensor offsets_horizontal, int dilation=1) "
      "-> Tensor");
  m.def(
      "adacof_grad(Tensor grad_out, Tensor image, Tensor weights, Tensor offsets_vertical, Tensor offsets_horizontal, "
      "int dilation, bool deterministic, bool need_image, bool need_weights, bool need_offsets_vertical, "
      "bool need_offsets_horizontal) -> "
      "(Tensor grad_image, Tensor grad_weights, Tensor grad_offsets_vertical, Tensor grad_offsets_horizontal)");

  m.def("sepconv(Tensor image, Tensor vertical, Tensor horizontal) -> Tensor");
  m.def(
      "sepconv_grad(Tensor grad_out, Tensor image, Tensor vertical, Tensor horizontal, bool need_image, "
      "bool need_vertical, bool need_horizontal) -> (Tensor grad_image, Tensor grad_vertical, Tensor grad_horizontal)");

  m.def("correlation_lookup(Tensor first, Tensor second, Tensor positions, int radius=4, int levels=4) -> Tensor");
  m.def(
      "correlation_lookup_grad(Tensor grad_out, Tensor first, Tensor second, Tensor positions, int radius, int levels, "
      "bool need_first, bool need_second, bool need_positions) "
      "-> (Tensor grad_first, Tensor grad_second, Tensor grad_positions)");
}

// Layers of networks.
STABLE_TORCH_LIBRARY_FRAGMENT(vfi_kernels, m) {
  m.def(
      "mixture_lora(Tensor input, Tensor weight, Tensor? bias, Tensor lora_a, Tensor lora_b, Tensor? lora_a_bias, "
      "Tensor? lora_b_bias, SymInt expert, Tensor? experts, Tensor? segments, bool allow_tf32) -> Tensor");
  m.def(
      "mixture_lora_grad(Tensor grad_out, Tensor input, Tensor weight, Tensor lora_a, Tensor lora_b, Tensor? lora_a_bias, "
      "SymInt expert, Tensor? experts, Tensor? segments, bool allow_tf32, bool need_input, bool need_weight, "
      "bool need_bias, bool need_lora_a, bool need_lora_b, bool need_lora_a_bias, bool need_lora_b_bias) "
      "-> (Tensor grad_input, Tensor grad_weight, Tensor grad_bias, Tensor grad_lora_a, Tensor grad_lora_b, "
      "Tensor grad_lora_a_bias, Tensor grad_lora_b_bias)");

  m.def(
      "modulated_deform_conv2d(Tensor input, Tensor offset, Tensor? mask, Tensor weight, Tensor? bias, int[] stride, "
      "int[] padding, int[] dilation, int groups, int offset_groups, int activation, Tensor? activation_weight, "
      "int edge, bool allow_tf32) -> Tensor");
  m.def(
      "modulated_deform_conv2d_grad(Tensor grad_out, Tensor input, Tensor offset, Tensor? mask, Tensor weight, "
      "int[] stride, int[] padding, int[] dilation, int groups, int offset_groups, int edge, bool allow_tf32, "
      "bool deterministic, bool need_input, bool need_offset, bool need_mask, bool need_weight, bool need_bias) "
      "-> (Tensor grad_input, Tensor grad_offset, Tensor grad_mask, Tensor grad_weight, Tensor grad_bias)");

  m.def("patch_indices(Tensor route, SymInt? capacity) -> (Tensor indices, Tensor count)");
  m.def("patch_gather(Tensor input, Tensor indices, SymInt patch, SymInt halo, bool? channels_last) -> Tensor");
  m.def(
      "patch_gather_grad(Tensor grad_out, Tensor indices, SymInt[] size, SymInt patch, SymInt halo, "
      "bool channels_last) -> Tensor");
  m.def("patch_scatter(Tensor patches, Tensor indices, Tensor base) -> Tensor");
  m.def("patch_scatter_(Tensor patches, Tensor indices, Tensor(a!) base) -> ()");
  m.def(
      "patch_scatter_grad(Tensor grad_out, Tensor indices, SymInt patch, bool channels_last, bool need_patches, "
      "bool need_base) -> (Tensor grad_patches, Tensor grad_base)");

  m.def(
      "routed_conv2d(Tensor input, Tensor weight, Tensor? bias, Tensor indices, SymInt patch, int stride, bool transposed, "
      "int padding_mode, bool allow_tf32) -> Tensor");
  m.def(
      "routed_conv2d_(Tensor input, Tensor weight, Tensor? bias, Tensor indices, SymInt patch, int stride, "
      "bool transposed, int padding_mode, int activation, Tensor? activation_weight, float negative_slope, bool allow_tf32, "
      "Tensor(a!) base) -> ()");
  m.def(
      "routed_conv2d_grad(Tensor grad_out, Tensor input, Tensor weight, Tensor indices, SymInt patch, int stride, "
      "bool transposed, int padding_mode, bool allow_tf32, bool need_input, bool need_weight, bool need_bias) "
      "-> (Tensor grad_input, Tensor grad_weight, Tensor grad_bias)");
}

// Along trajectories.
STABLE_TORCH_LIBRARY_FRAGMENT(vfi_kernels, m) {
  m.def(
      "sample_trajectory(Tensor keyframes, Tensor taus, SymInt height, SymInt width, float first, float step, float a, "
      "int boundary, bool extrapolate, bool derivative) -> Tensor");
  m.def(
      "sample_trajectory_grad(Tensor grad_out, Tensor keyframes, Tensor taus, SymInt height, SymInt width, float first, "
      "float step, float a, int boundary, bool extrapolate, bool derivative, bool need_keyframes, bool need_taus) "
      "-> (Tensor grad_keyframes, Tensor grad_taus)");

  m.def(
      "trajectory_splat(Tensor[] inputs, Tensor keyframes, Tensor taus, Tensor? metric, float first, float step, float a, "
      "int boundary, bool extrapolate, int mode, int holes, bool keep_weight, bool deterministic) "
      "-> (Tensor[] outs, Tensor weight, Tensor shift)");
  m.def(
      "trajectory_splat_grad(Tensor[] grad_outs, Tensor? grad_weight, Tensor[] inputs, Tensor keyframes, Tensor taus, "
      "Tensor? metric, Tensor[] outs, Tensor weight, Tensor shift, float first, float step, float a, int boundary, "
      "bool extrapolate, int mode, int holes, bool need_inputs, bool need_keyframes, bool need_taus, bool need_metric) "
      "-> (Tensor[] grad_inputs, Tensor grad_keyframes, Tensor grad_taus, Tensor grad_metric)");

  m.def(
      "trajectory_warp(Tensor image, Tensor keyframes, Tensor taus, float first, float step, float a, int boundary, "
      "bool extrapolate, int padding_mode) -> Tensor");
  m.def(
      "trajectory_warp_grad(Tensor grad_out, Tensor image, Tensor keyframes, Tensor taus, float first, float step, "
      "float a, int boundary, bool extrapolate, int padding_mode, bool deterministic, bool need_image, bool need_keyframes, "
      "bool need_taus) -> (Tensor grad_image, Tensor grad_keyframes, Tensor grad_taus)");
}

STABLE_TORCH_LIBRARY_IMPL(vfi_kernels, CompositeExplicitAutograd, m) {
  m.impl("build_info", TORCH_BOX(&build_info));
  m.impl("cpu_level", TORCH_BOX(&cpu_level));
  m.impl("cpu_level_note", TORCH_BOX(&cpu_level_note));
  m.impl("give_results", TORCH_BOX(&give_results));
  m.impl("simulate_threads", TORCH_BOX(&simulate_threads));
  m.impl("simulated_regions", TORCH_BOX(&simulated_regions));
}
