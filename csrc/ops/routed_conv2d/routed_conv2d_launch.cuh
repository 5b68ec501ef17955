// Launches of routed_conv2d's convolution: how many blocks, and memory for its weights in their order.
#pragma once

#include <limits>

#include "ops/routed_conv2d/routed_conv2d_kernels.cuh"

namespace vfi::cuda {

// Blocks that the device runs at once, kBlocks on each of its processors.
template <int kBlocks>
int64_t resident_blocks() {
  int device = 0, processors = 0;
  if (cudaGetDevice(&device) != cudaSuccess ||
      cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
    throw std::runtime_error("vfi_kernels: the device does not tell how many processors it has");
  }
  return int64_t{kBlocks} * processors;
}

// `memory` gives room for so many factors.
template <class T, class F, class Memory>
void launch_routed_conv(const T* weight, const RoutedWeights& w, const RoutedArgsGpu& args, const Epilogue& epilogue,
                        const Memory& memory, cudaStream_t stream) {
  if (args.items * args.columns * args.out_side == 0) return;
  const bool packed = routed_packs(args.from, args.depth, 16 / static_cast<int64_t>(sizeof(T)));
  with_routed_tile<F>(args, packed, [&](const RoutedArgsGpu& a, auto is_packed, auto m, auto n, auto bytes) {
    constexpr int M = decltype(m)::value, N = decltype(n)::value, kBytes = decltype(bytes)::value;
    const RoutedPanels p = routed_panels(a, N, kBytes / static_cast<int32_t>(sizeof(F)));
    const int64_t count = p.count() * p.size(N), tiles = routed_tiles(a) * p.parts;
    if (std::max(count, tiles) > std::numeric_limits<int32_t>::max()) {
      throw std::runtime_error("routed_conv2d: expected fewer than 2147483648 weights and tiles");
    }
    F* const panels = memory(std::max<int64_t>(count, 1));
    if (count > 0) {
      VFI_LAUNCH((routed_pack_kernel<T, F, N>), grid_size(ceil_div(count, 4 * kThreads)), kThreads, 0, stream, weight, panels, p,
                 w, a.K, a.depth, a.columns);
    }
    const bool together = routed_packs(a.to, a.columns, 16 / static_cast<int64_t>(sizeof(T)));
    constexpr size_t kShared = shared_bytes<RoutedShared<M, N, kBytes>>();
    VFI_LAUNCH((routed_conv_kernel<T, F, decltype(is_packed)::value, M, N, kBytes>),
               Grid(std::min(tiles, resident_blocks<2>())), kThreads, kShared, stream, static_cast<const F*>(panels), p, a,
               epilogue, static_cast<uint32_t>(tiles), together);
  });
}

}  // namespace vfi::cuda
