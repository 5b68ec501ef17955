// Convolution of listed patches on CUDA, and the gradient of its input, which is the other form of the same sum.
// Formulas: routed_conv2d.h.
//
// A block goes through tiles: M output pixels, of one patch or of several small ones, and N output channels. For some
// channels at a time it loads the input pixels that its tile reads; every tap is then a product of those pixels, a fixed
// number of lines further, with a panel of weights. Panels are on their way while others are multiplied. There are as
// many blocks as the device runs at once; rows of the list that name no patch cost little.
#pragma once

#include "cuda/epilogue.cuh"
#include "ops/routed_conv2d/routed_conv2d_tiles.cuh"

namespace vfi::cuda {

// Weights in the order in which blocks read them, zeros where there is none: panels [part][chunk][u][v], each N lines
// (output channels as row_line says) of `bytes` of input channels.
struct RoutedPanels {
  int32_t parts, chunks, taps, channels;  // channels of a chunk

  VFI_HOST_DEVICE int64_t size(int32_t lines) const { return int64_t{lines} * channels; }
  VFI_HOST_DEVICE int64_t count() const { return int64_t{parts} * chunks * taps; }
};
inline RoutedPanels routed_panels(const RoutedArgsGpu& a, int32_t lines, int32_t channels) {
  const auto parts = [](int32_t n, int32_t size) { return (n + size - 1) / size; };
  return {parts(a.columns, lines), parts(a.depth, channels), a.K * a.K, channels};
}

template <class T, class F, int N>
__global__ __launch_bounds__(kThreads) void routed_pack_kernel(const T* __restrict__ weight, F* __restrict__ packed,
                                                               RoutedPanels p, RoutedWeights w, int32_t K, int32_t depth,
                                                               int32_t columns) {
  constexpr uint32_t kPack = 16 / static_cast<uint32_t>(sizeof(F));
  const uint32_t count = static_cast<uint32_t>(p.count() * p.size(N)) / kPack, packs = p.channels / kPack;
  for (uint32_t i = blockIdx.x * kThreads + threadIdx.x; i < count; i += gridDim.x * kThreads) {
    const int32_t line = static_cast<int32_t>(i / packs % N), panel = static_cast<int32_t>(i / packs / N);
    const int32_t tap = panel % p.taps, c = panel / p.taps % p.chunks * p.channels + static_cast<int32_t>(i % packs * kPack);
    const int32_t n = panel / p.taps / p.chunks * N + line / kRowColumns * kRowColumns + row_line(line % kRowColumns);
    const T* const from = weight + c * w.depth_step + n * w.column_step + tap / K * w.row_step + tap % K * w.tap_step;
    Pack<F, kPack> values{};
#pragma unroll
    for (uint32_t e = 0; e < kPack; ++e) {
      if (n < columns && c + static_cast<int32_t>(e) < depth) values.at[e] = factor_of<F>(from[e * w.depth_step]);
    }
    store_pack(packed + int64_t{i} * kPack, values);
  }
}

constexpr int kPanels = 3;  // in shared memory: one is multiplied, the others are on their way

template <int M, int N, int kBytes>
struct RoutedShared {
  static constexpr int32_t kPitch = row_pitch(kBytes);
  alignas(16) unsigned char input[kInputBytes];
  alignas(16) unsigned char panels[kPanels][N * kPitch];
  int64_t targets[M];                    // where output pixels are written, or -1
  int64_t origins[kMostItems * kAround];
  int32_t lines[M];                      // where their input begins, in bytes; -1: they are 0
  int32_t shifts[kMostTaps], taps[kMostTaps], count;  // the taps that read anything: how far behind; their panels
};

// Fills the tables of a tile.
template <int M, int N, int kBytes>
__device__ __forceinline__ void find_tile(RoutedShared<M, N, kBytes>& to, const RoutedArgsGpu& a, const RoutedTileGpu& tile) {
  find_origins(a, tile, to.origins);
  __syncthreads();
  const int32_t thread = static_cast<int32_t>(threadIdx.x), taps = tile.y_axis.taps * tile.x_axis.taps;
  constexpr int32_t kPitch = RoutedShared<M, N, kBytes>::kPitch;
  if (thread < M) {
    const RoutedPixel pixel = routed_pixel(a.cut, thread);
    int64_t target = -1;
    int32_t line = -1;
    if (routed_exists(a, tile, pixel)) {
      const RoutedItem item = routed_item(a, tile.first + pixel.item);
      const bool in_list = a.listed == nullptr, used = item.patch.used;
      if (used || (!in_list && a.neighbours)) line = routed_line(a, pixel) * kPitch;
      if (used || !in_list || !a.to.in_image) {
        target = routed_target(a.to, a.out_side, item, tile.y_axis.output(tile.y + pixel.y),
                               tile.x_axis.output(tile.x + pixel.x));
      }
    }
    to.targets[thread] = target, to.lines[thread] = line;
  }
  if (thread < 32) {
    const int32_t y = thread < taps ? thread / tile.x_axis.taps : 0, x = thread - y * tile.x_axis.taps;
    const bool reads = thread < taps && routed_reads(a, tile, to.origins, y, x);
    const unsigned all = __ballot_sync(kFullWarp, reads);
    if (reads) {
      const int n = __popc(all & ((1u << thread) - 1));
      to.shifts[n] = routed_shift(a, tile, y, x) * kPitch;
      to.taps[n] = (tile.y_axis.tap(y) * a.K + tile.x_axis.tap(x)) * N * kBytes;
    }
    if (thread == 0) to.count = __popc(all);
  }
  __syncthreads();
}

// The product of a tile: all chunks of channels, all taps. Panels come from `packed`, the part's first.
template <bool kPacked, class T, class F, int M, int N, int kBytes, class Tiles>
__device__ __forceinline__ void multiply_tile(RoutedShared<M, N, kBytes>& shared, const RoutedArgsGpu& a,
                                              const RoutedTileGpu& tile, const RoutedPanels& p, const unsigned char* packed,
                                              int32_t column, Tiles& sums) {
  constexpr int32_t kPacks = kBytes / 16, kPitch = row_pitch(kBytes);
  const int32_t thread = static_cast<int32_t>(threadIdx.x), taps = shared.count;
  const bool copies = N * kPacks >= kThreads || thread < N * kPacks;
  unsigned char* const places = shared.panels[0] + thread / kPacks * kPitch + thread % kPacks * 16;
  const unsigned char *next = packed + thread * 16, *const end = next + int64_t{p.chunks} * p.taps * (N * kBytes);
  int32_t next_tap = 0, at = 0;  // `next`: the chunk whose panel is begun next
  const auto begin_panel = [&](int32_t slot) {
    if (copies && next < end) copy_async<16>(places + slot * (N * kPitch), next + shared.taps[next_tap], 16);
    end_copies();
    if (++next_tap == taps) next_tap = 0, next += p.taps * (N * kBytes);
  };
  if (taps == 0) return;
  for (int32_t slot = 0; slot < kPanels - 1; ++slot) begin_panel(slot);
  const T* from = static_cast<const T*>(a.from.data);
  for (int32_t depth = a.depth; depth > 0; depth -= p.channels) {
    __syncthreads();
    load_lines<kPacked, kBytes, kPitch, F>(shared.input, a.cut.items * a.cut.in_pixels.divisor, from, a.from.strides.channel,
                                           depth, [&](int32_t n) { return routed_source(a, tile, shared.origins, n); });
    from += p.channels * a.from.strides.channel;
    end_copies();
    wait_for_copies<0>();
    for (int32_t tap = 0; tap < taps; ++tap) {
      if (tap > 0) wait_for_copies<kPanels - 2>();
      __syncthreads();  // all has arrived, and nobody reads the panel that is begun now
      begin_panel(at == 0 ? kPanels - 1 : at - 1);
      sums.multiply_add(shared.input + shared.shifts[tap], shared.panels[at] + column * kPitch,
                        depth * static_cast<int32_t>(sizeof(F)));
      if (++at == kPanels) at = 0;
    }
  }
}

// Warps side by side along N; M / 16 / kDown of them below each other.
template <class T, class F, bool kPacked, int M, int N, int kBytes>
__global__ __launch_bounds__(kThreads, 2) void routed_conv_kernel(const F* __restrict__ packed, RoutedPanels p,
                                                                  RoutedArgsGpu a, Epilogue epilogue, uint32_t tiles,
                                                                  bool together) {
  constexpr int kAcross = N / kRowColumns, kDown = M * kAcross / (kThreads / 2);
  using Tiles = RowTiles<F, kDown, kBytes>;
  using Shared = RoutedShared<M, N, kBytes>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, column = warp % kAcross * kRowColumns;
  const int32_t row = warp / kAcross * 16 * kDown;
  for (uint32_t index = blockIdx.x; index < tiles; index += gridDim.x) {
    const RoutedTileGpu tile = routed_tile(a, index / p.parts);
    const int32_t part = static_cast<int32_t>(index % p.parts), first = part * N + column + Tiles::column();
    find_tile(*shared, a, tile);
    Tiles sums;
    sums.clear();
    sums.find([&](int m) { return shared->lines[row + m]; });
    const F* const panels = packed + int64_t{part} * p.chunks * p.taps * p.size(N);
    multiply_tile<kPacked, T, F>(*shared, a, tile, p, reinterpret_cast<const unsigned char*>(panels), column, sums);
    const int32_t count = min(a.columns - first, Tiles::kColumns);
    finish_all<T>(epilogue, first, count, sums.sums);
    T* const to = static_cast<T*>(a.to.data) + first * a.to.strides.channel;
#pragma unroll
    for (int i = 0; i < Tiles::kRows; ++i) {
      const int64_t target = shared->targets[row + Tiles::row(i)];
      if (shared->lines[row + Tiles::row(i)] < 0) {
#pragma unroll
        for (auto& sum : sums.sums[i]) sum = 0;
      }
      if (target >= 0) store_line(to + target, a.to.strides.channel, count, together, sums.sums[i]);
    }
    wait_for_copies<0>();
    __syncthreads();
  }
}

// Calls run(a, std::bool_constant<packed>(), integral constants M, N, bytes) for a convolution that is cut for them: 256
// output pixels where so many, with 64 bytes of channels, fit; 128 else; 32 output channels where there are no more.
template <class F, class Run>
void with_routed_tile(RoutedArgsGpu a, bool packed, Run&& run) {
  const auto with = [&](auto m, auto n, auto bytes) {
    if constexpr (!std::is_same_v<F, double>) {
      if (packed) return run(a, std::true_type(), m, n, bytes);
    }
    run(a, std::false_type(), m, n, bytes);
  };
  using Few = std::integral_constant<int, 128>;
  using Thin = std::integral_constant<int, 32>;
  using Wide = std::integral_constant<int, 64>;
  if constexpr (kTensorCores<F>) {  // else sums leave too few registers
    if (a.columns > 32) {
      a.cut = routed_cut(a, 256, row_pitch(64));
      if (a.cut.items * a.cut.pixels.divisor > 128) return with(std::integral_constant<int, 256>(), Wide(), Wide());
      a.cut = routed_cut(a, 128, row_pitch(32));
      return with(Few(), Wide(), Thin());
    }
  }
  a.cut = routed_cut(a, 128, row_pitch(64));
  with(Few(), Thin(), Wide());
}

}  // namespace vfi::cuda
