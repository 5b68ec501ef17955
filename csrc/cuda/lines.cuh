// Lines of factors in shared memory, k inside: how they are loaded; and how eight neighbouring sums of one are stored.
#pragma once

#include "cuda/async_copy.cuh"
#include "cuda/row_tiles.cuh"

namespace vfi::cuda {

// 16 bytes of factors: from[i step], of which `count` exist. Packed: side by side, all or none of them there.
template <bool kPacked, class T, class F>
__device__ __forceinline__ void load_factors(F* to, const T* __restrict__ from, int64_t step, int32_t count) {
  constexpr int N = 16 / static_cast<int>(sizeof(F));
  if constexpr (kPacked && std::is_same_v<T, F>) {
    copy_async<16>(to, from, count > 0 ? 16 : 0);
  } else {
    Pack<F, N> factors{};
    if constexpr (kPacked) {
      Pack<T, N> values{};
      if (count > 0) values = load_pack<T, N>(from);
#pragma unroll
      for (int i = 0; i < N; ++i) factors.at[i] = factor_of<F>(values.at[i]);
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) {
        if (i < count) factors.at[i] = factor_of<F>(from[i * step]);
      }
    }
    store_pack(to, factors);
  }
}

// `count` lines, kBytes of each: k from 0 on, zeros from `depth` on. source(n) says where line n begins, counted from `from`;
// -1: it is 0. Packed: `step` is 1, 16 bytes are loaded together, by neighbouring threads; else these have neighbouring
// lines.
template <bool kPacked, int kBytes, int kPitch, class F, class T, class Source>
__device__ __forceinline__ void load_lines(unsigned char* lines, int32_t count, const T* __restrict__ from, int64_t step,
                                           int32_t depth, const Source& source) {
  constexpr int32_t N = 16 / static_cast<int32_t>(sizeof(F)), kPacks = kBytes / 16;
  const int32_t thread = static_cast<int32_t>(threadIdx.x);
  if constexpr (kPacked) {
    const int32_t pack = thread % kPacks, exist = depth - pack * N;
    const T* const first = from + pack * N;
    unsigned char* to = lines + thread / kPacks * kPitch + pack * 16;
#pragma unroll 1  // the sums leave few registers
    for (int32_t n = thread / kPacks; n < count; n += kThreads / kPacks, to += kThreads / kPacks * kPitch) {
      const int64_t at = source(n);
      const bool exists = at >= 0 && exist > 0;
      load_factors<true>(reinterpret_cast<F*>(to), exists ? first + at : from, 1, exists ? N : 0);
    }
  } else {
    const int32_t together = max(min(count, kThreads), 1), lanes = min(kThreads / together, kPacks), lane = thread / together;
    if (lane >= lanes) return;
#pragma unroll 1
    for (int32_t n = thread % together; n < count; n += together) {
      const int64_t at = source(n);
#pragma unroll 1
      for (int32_t pack = lane; pack < kPacks; pack += lanes) {
        const int32_t exist = at < 0 ? 0 : depth - pack * N;
        load_factors<false>(reinterpret_cast<F*>(lines + n * kPitch + pack * 16), from + at + pack * N * step, step, exist);
      }
    }
  }
}

// Eight neighbouring sums, `count` of which exist; `together`: side by side in memory, as many as 16 bytes hold at once.
template <class T, class A>
__device__ __forceinline__ void store_line(T* to, int64_t step, int32_t count, bool together, const A (&sums)[8]) {
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  if (together) {
#pragma unroll
    for (int n = 0; n < 8; n += kPack) {
      Pack<T, kPack> values;
#pragma unroll
      for (int i = 0; i < kPack; ++i) narrow(sums[n + i], values.at[i]);
      if (n < count) store_pack(to + n, values);
    }
    return;
  }
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    if (n < count) narrow(sums[n], to[n * step]);
  }
}

}  // namespace vfi::cuda
