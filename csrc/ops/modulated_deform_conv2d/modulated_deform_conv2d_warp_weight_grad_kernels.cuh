// The gradient of modulated_deform_conv2d.h for the weight on CUDA, on tensor cores, for channels in packs of 16 bytes. A block
// has some output channels of a group, some pieces of the columns (32 channels of a tap), and a fixed part of the pixels. Each
// of its warps samples one piece for half of a tile; the product sums over the pixels of the tile. Another kernel adds the
// parts in order.
#pragma once

#include <algorithm>

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_warp_columns.cuh"

namespace vfi::cuda {

// Whether tensor cores take factors that lie across: k, the pixel, is outside.
template <class F>
constexpr bool kColumnsTurned = kTensorCores<F> && sizeof(F) == 2;

template <class F>
struct WarpGradWeight {
  // Places of bfloat16 take more room.
  static constexpr int kOut = 64, kPixels = std::is_same_v<F, Half> ? 64 : 32, kPieces = kWarps / 2, kPiece = 32;
  static constexpr int kHalf = kPixels / 2, kRows = kHalf / 8;
  using Left = Panel<F, kOut, Inner::kRow, kPixels>;
  using Right = Panel<F, kPieces * kPiece, Inner::kRow, kPixels>;
  using Product = SumsOf<F, Left, Right>;
  using Out = SumPanel<kOut, kPieces * kPiece, false>;
  using Sampler = WarpSampler<F, kHalf>;
  union Shared {
    struct {
      FactorsOf<F, Left, Right> factors;
      WarpPlaces<F, kHalf> places[kWarps];
    } in;
    float sums[Out::kElements];
  };
};

struct WarpWeightParts {
  int64_t parts, tiles_of_part;  // of the pixels
  int32_t rows, pieces, each;    // of the output channels of a group; of its columns for a block; pieces of a tap
};

// Channels of the gradient of the output at the pixels of a tile, `channels` of which exist: k outside.
template <class Left, class F>
__device__ __forceinline__ void copy_gradient(F* left, const F* __restrict__ from, int64_t step, int pixels, int channels) {
  constexpr int N = Left::kPack, kPacks = Left::kRows / N, kLines = kThreads / kPacks;
  const int pack = threadIdx.x % kPacks, line = threadIdx.x / kPacks;
  const F* at = from + line * step + pack * N;
  left += Left::at(pack * N, line);
#pragma unroll
  for (int n = 0; n < Left::kMost; n += kLines, at += kLines * step, left += Left::at(0, kLines)) {
    const bool exists = n + line < pixels && pack * N < channels;
    copy_async<16>(left, exists ? at : from, exists ? 16 : 0);
  }
  end_copies();
}

// The sums of a block: to [tap][c][o] of its group.
template <class K, class F>
__device__ __forceinline__ void store_partial(float* __restrict__ to, const float* sums, const DeformArgsGpu& a,
                                              const WarpWeightParts& w, int32_t first_piece, int rows) {
  const int m = threadIdx.x % K::kOut, first = threadIdx.x / K::kOut;
#pragma unroll 1
  for (int i = 0; i < K::kPieces && m < rows; ++i) {
    const int32_t t = (first_piece + i) / w.each, channel = (first_piece + i) % w.each * K::kPiece;
    float* const line = to + (int64_t{t} * a.group_in + channel) * a.group_out + m;
    const int columns = t < a.taps ? min(a.group_in - channel, K::kPiece) : 0;
    for (int n = first; n < columns; n += kThreads / K::kOut) {
      line[int64_t{n} * a.group_out] = sums[K::Out::at(m, i * K::kPiece + n)] * kColumnUnit<F>;
    }
  }
}

// partial[part][group][tap][c][o]
template <class T, class F, bool kHalfMask>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_weight_warps_kernel(const T* __restrict__ grad_out,
                                                                               const T* __restrict__ input,
                                                                               float* __restrict__ partial, DeformArgsGpu a,
                                                                               WarpWeightParts w, OffsetGroups offset_groups) {
  using K = WarpGradWeight<F>;
  using Shared = typename K::Shared;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  Digits<int32_t> block{static_cast<int32_t>(blockIdx.x)};
  const int32_t first_out = block.next(w.rows) * K::kOut, first_piece = block.next(w.pieces) * K::kPieces;
  const int32_t group = block.next(static_cast<int32_t>(g.groups)), part = block.rest;
  const int32_t rows = min(a.group_out - first_out, K::kOut);
  const int32_t warp = threadIdx.x / 32, piece = first_piece + warp % K::kPieces;
  const TapIndex tap(g, piece / w.each);
  const int32_t c = piece % w.each * K::kPiece, first = group * a.group_in + c, count = a.group_in - c;
  const int32_t lane = threadIdx.x % 32, own = lane % 4 * K::Sampler::kPack;
  const int64_t tiles = a.tiles(K::kPixels), begin = part * w.tiles_of_part, end = min(begin + w.tiles_of_part, g.B * tiles);
  F *left = shared->in.factors.left, *right = shared->in.factors.right;
  WarpPlaces<F, K::kHalf>& places = shared->in.places[warp];
  places.begin();
  const int half = warp / K::kPieces * K::kHalf, row = lane / 4 * K::kRows;
  const CornerSteps steps(a);
  typename K::Product sums;
  sums.clear();
  for (int64_t n = begin; n < end; ++n) {
    const PixelTile tile = pixel_tile(g, static_cast<unsigned>(n), static_cast<unsigned>(tiles), K::kPixels);
    const T* const gradient = grad_out + tile.b * a.out.sample + tile.first * a.out.channels + group * a.group_out + first_out;
    copy_gradient<typename K::Left>(left, gradient, a.out.channels, tile.count, rows);
    if (tap.t < a.taps) {
      const PixelAt pixel = pixel_at(a, tile, half + WarpPlaces<F, K::kHalf>::pixel());
      typename K::Sampler sampler{places, pixel, offset_groups};
      const int slot = sampler.slot(a, tap, first, count);
      const DeformPlaceGpu<F>* const from = places.at(slot) + row;
      const char* const channels = reinterpret_cast<const char*>(input + tile.b * a.in.sample + first + own);
      F* const to = right + K::Right::at(warp % K::kPieces * K::kPiece + own, half + row);
#pragma unroll
      for (int i = 0; i < K::kRows; ++i) {
        store_pack(to + K::Right::at(0, i), sampled<kHalfMask, T>(channels, steps, load_place(from + i)));
      }
    }
    wait_for_copies<0>();
    __syncthreads();
    sums.multiply_add(left, right, K::kPixels, rows);
    __syncthreads();
  }
  sums.template store<typename K::Out>(shared->sums);
  __syncthreads();
  partial += (part * g.groups + group) * a.taps * a.group_in * a.group_out + first_out;
  store_partial<K, F>(partial, shared->sums, a, w, first_piece, rows);
}

// How the gradient of the weight is cut: by sizes alone, so that sums have one order on every device. As many blocks as keep
// 132 multiprocessors busy; no more, for every part is written and read once.
template <class F>
WarpWeightParts warp_weight_parts(const DeformArgsGpu& a) {
  using K = WarpGradWeight<F>;
  constexpr int64_t kEnoughBlocks = 264;
  const int64_t tiles = a.g.B * a.tiles(K::kPixels), each = ceil_div(a.g.group_in(), K::kPiece);
  WarpWeightParts w{1, tiles, static_cast<int32_t>(ceil_div(a.g.group_out(), K::kOut)),
                    static_cast<int32_t>(ceil_div(each * a.g.taps(), K::kPieces)), static_cast<int32_t>(each)};
  const int64_t blocks = int64_t{w.rows} * w.pieces * a.g.groups;
  if (blocks == 0 || tiles == 0) return w;
  w.tiles_of_part = ceil_div(tiles, std::clamp<int64_t>(kEnoughBlocks / blocks, 1, tiles));
  w.parts = ceil_div(tiles, w.tiles_of_part);
  return w;
}

template <class T, class F>
void launch_deform_grad_weight_warps(const T* grad_out, const T* input, float* partial, const DeformArgsGpu& a,
                                     const WarpWeightParts& w, cudaStream_t stream) {
  const int64_t blocks = w.parts * w.rows * w.pieces * a.g.groups;
  if (blocks == 0) return;
  const auto run = [&](auto half_mask) {
    constexpr size_t kBytes = shared_bytes<typename WarpGradWeight<F>::Shared>();
    VFI_LAUNCH((deform_grad_weight_warps_kernel<T, F, decltype(half_mask)::value>), Grid(blocks), kThreads, kBytes, stream,
               grad_out, input, partial, a, w, OffsetGroups(a.offset_channels));
  };
  if constexpr (std::is_same_v<F, Half>) {
    if (!a.half_mask) return run(std::false_type());
  }
  run(std::true_type());
}

}  // namespace vfi::cuda
