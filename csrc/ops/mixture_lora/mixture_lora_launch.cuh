// Launches of mixture_lora's shrink and expand: how they are cut, and what is loaded 16 bytes at a time.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "ops/mixture_lora/mixture_lora_kernels.cuh"

namespace vfi::cuda {

constexpr int64_t kEnoughBlocks = 1024;

// How the side of a shrink is cut: by sizes alone. A part has some pieces of kDepth at least.
inline LoraParts lora_parts(const LoraTokens& t, int64_t side) {
  constexpr int64_t kLeast = 8 * kDepth, kColumns = 64;
  const int64_t blocks = std::max<int64_t>(t.tiles(kTokens) * ceil_div(2 * t.shape.rank, kColumns), 1);
  const int64_t parts = std::clamp<int64_t>(kEnoughBlocks / blocks, 1, std::max<int64_t>(ceil_div(side, kLeast), 1));
  const int64_t each = ceil_div(ceil_div(side, parts), kDepth) * kDepth;
  return {parts, std::max<int64_t>(each, kDepth)};
}

// Whether `n` elements of a line can be loaded at once, wherever a multiple of n begins, in every line: these are
// `steps` apart.
inline bool lora_packs(const void* data, int64_t step, int64_t depth, std::initializer_list<int64_t> steps, int64_t n) {
  const bool even = std::all_of(steps.begin(), steps.end(), [n](int64_t s) { return s % n == 0; });
  return step == 1 && depth % n == 0 && even && reinterpret_cast<uintptr_t>(data) % 16 == 0;
}

// Calls run(bool_constant, bool_constant); float64 is never packed.
template <class F, class Run>
void with_packs(bool first, bool second, Run&& run) {
  const auto with = [](bool packed, const auto& then) {
    if constexpr (!std::is_same_v<F, double>) {
      if (packed) return then(std::true_type());
    }
    then(std::false_type());
  };
  with(first, [&](auto one) { with(second, [&](auto two) { run(one, two); }); });
}

// s [tokens, 2 r]; `partial` has parts tokens 2 r elements.
template <class T, class F>
void launch_lora_shrink(const T* rows, const LoraFactor& factor, const LoraFactor& bias, const LoraTokens& t,
                        Sum<F>* partial, F* s, cudaStream_t stream) {
  constexpr int64_t kPack = 16 / static_cast<int64_t>(sizeof(T));
  const LoraParts cut = lora_parts(t, factor.side);
  if (t.shape.tokens * t.shape.rank == 0) return;
  const Grid grid(t.tiles(kTokens) * ceil_div(2 * t.shape.rank, kLoraColumns<F>) * cut.parts);
  const bool along = lora_packs(factor.data, factor.side_step, factor.side, {factor.entry_step, factor.rank_step}, kPack);
  with_packs<F>(lora_packs(rows, 1, factor.side, {}, kPack), along, [&](auto packed, auto is_along) {
    VFI_LAUNCH((lora_shrink_kernel<T, F, decltype(packed)::value, decltype(is_along)::value>), grid, kThreads,
               (shared_bytes<LoraShared<F>>()), stream, rows, factor, t, cut, partial);
  });
  VFI_LAUNCH((lora_finish_kernel<T, F>), Grid(t.tiles(kTokens)), kThreads, 0, stream,
             static_cast<const Sum<F>*>(partial), bias, t, cut.parts, s);
}

// out [tokens, side]
template <class T, class F>
void launch_lora_expand(const F* s, const LoraFactor& factor, const LoraBiases& biases, const LoraTokens& t, T* out,
                        cudaStream_t stream) {
  constexpr int64_t kPack = 16 / static_cast<int64_t>(sizeof(T));
  if (t.shape.tokens * factor.side == 0) return;
  const Grid grid(t.tiles(kTokens) * ceil_div(factor.side, kLoraColumns<F>));
  const bool together = lora_packs(out, 1, factor.side, {}, kPack);
  const bool along = lora_packs(factor.data, factor.rank_step, t.shape.rank, {factor.entry_step, factor.side_step}, kPack);
  with_packs<F>(lora_packs(s, 1, t.shape.rank, {}, kPack), along, [&](auto packed, auto is_along) {
    VFI_LAUNCH((lora_expand_kernel<T, F, decltype(packed)::value, decltype(is_along)::value>), grid, kThreads,
               (shared_bytes<LoraShared<F>>()), stream, s, factor, biases, t, out, together);
  });
}

}  // namespace vfi::cuda
