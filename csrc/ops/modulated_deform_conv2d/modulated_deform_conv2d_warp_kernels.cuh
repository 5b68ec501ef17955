// Modulated deformable convolution on CUDA: the forward kernel on tensor cores, for channels in packs of 16 bytes. Formulas:
// modulated_deform_conv2d.h.
//
// A block has some output pixels and M output channels of one group; a warp of it has some of the pixels. Its lanes sample
// columns into the registers where the product wants them, so that warps meet at one barrier for each piece of the weights,
// which is copied to shared memory while the piece before is multiplied. Columns go to no memory at all.
#pragma once

#include "cuda/epilogue.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_warp_columns.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weights.cuh"

namespace vfi::cuda {

template <class F, int M>
struct WarpForward {
  static constexpr int kDown = 128 / M, kPieces = 2;
  using Product = HeldRows<F, kDown, M / kRowColumns>;
  static constexpr int kPixels = 16 * kDown, kBlockPixels = kWarps * kPixels;  // of a warp, of a block
  using Sampler = WarpSampler<F, kPixels>;
  using Copies = WeightCopies<F, M, kPieces>;
  static_assert(Sampler::kDepth == Product::kDepth && Product::kPartBytes == kRowColumns * 64);
  struct Shared {
    alignas(16) unsigned char weights[2][Copies::kBytes];
    WarpPlaces<F, kPixels> places[kWarps];
  };
};

// Sums of kRows neighbouring pixels, `pixels` of which exist, and `count` of eight output channels; out is of the first ones.
template <class T, int kRows>
__device__ __forceinline__ void store_sums(T* __restrict__ out, const DenseShape& shape, bool wide, int pixels, int count,
                                           const float (&sums)[kRows][8]) {
  if (shape.channels_last) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      if (i < pixels) store_line(out + i * shape.pixel_stride(), 1, count, wide, sums[i]);
    }
    return;
  }
#pragma unroll
  for (int n = 0; n < 8; ++n, out += shape.plane) {
    if (n >= count) break;
    Pack<T, kRows> values;
#pragma unroll
    for (int i = 0; i < kRows; ++i) narrow(sums[i][n], values.at[i]);
    if (wide && pixels >= kRows) {
      store_pack(out, values);
    } else {
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        if (i < pixels) out[i] = values.at[i];
      }
    }
  }
}

// out is of the warp's first pixel; `rows` output channels from `first` on are wanted.
template <class F, class Product, class T>
__device__ __forceinline__ void finish_rows(Product& product, T* __restrict__ out, const DeformArgsGpu& a,
                                            const Epilogue& epilogue, int64_t first, int rows, int pixels) {
  constexpr int kRows = Product::kRows, kParts = sizeof(product.sums) / sizeof(product.sums[0]);
  const int pixel = Product::row(0);
  out += pixel * a.out.pixel_stride() + first * a.out.channel_stride();
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int o = part * kRowColumns + Product::column(), count = min(rows - o, 8);
    if (count <= 0) break;
    auto& sums = product.sums[part];
#pragma unroll
    for (int i = 0; i < kRows * 8; ++i) sums[i / 8][i % 8] *= kColumnUnit<F>;
    finish_all<T>(epilogue, first + o, count, sums);
    store_sums(out + o * a.out.channel_stride(), a.out, a.wide_out, pixels - pixel, count, sums);
  }
}

template <class T, class F, int M, bool kHalfMask>
__global__ __launch_bounds__(kThreads, 2) void deform_warps_kernel(const T* __restrict__ input, const F* __restrict__ weight,
                                                                   T* __restrict__ out, DeformArgsGpu a, WeightLines lines,
                                                                   OffsetGroups offset_groups, Epilogue epilogue) {
  using K = WarpForward<F, M>;
  using Shared = typename K::Shared;
  using Product = typename K::Product;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const unsigned parts = (a.group_out + M - 1) / M, groups = static_cast<unsigned>(g.groups);
  const int32_t first_out = static_cast<int32_t>(blockIdx.x % parts) * M;
  const int32_t group = static_cast<int32_t>(blockIdx.x / parts % groups), rows = min(a.group_out - first_out, M);
  const unsigned tiles = static_cast<unsigned>(a.tiles(K::kBlockPixels));
  PixelTile tile = pixel_tile(g, blockIdx.x / parts / groups, tiles, K::kBlockPixels);
  const int32_t warp = static_cast<int32_t>(threadIdx.x) / 32, before = min(warp * K::kPixels, tile.count);
  tile.first += before, tile.count = min(tile.count - before, K::kPixels);
  typename K::Sampler sampler{shared->places[warp], pixel_at(a, tile, WarpPlaces<F, K::kPixels>::pixel()), offset_groups};
  sampler.places.begin();
  typename K::Copies copies(weight, a, lines, group, first_out, rows);
  Product product;
  product.clear();
  const int32_t first = group * a.group_in;
  const char* const from = reinterpret_cast<const char*>(input + tile.b * a.in.sample + first + Product::depth());
  int buffer = 0;
  copies.next(shared->weights[0]);
  for (TapIndex tap(g, 0); tap.t < a.taps; tap.advance(g)) {
    for (int32_t c = 0; c < a.group_in; c += K::kPieces * Product::kDepth, buffer ^= 1) {
      wait_for_copies<0>();
      __syncthreads();
      copies.next(shared->weights[buffer ^ 1]);
      const int32_t end = tile.count > 0 ? min(c + K::kPieces * Product::kDepth, a.group_in) : c;
      const unsigned char* weights = shared->weights[buffer];
#pragma unroll 1
      for (int32_t k = c; k < end; k += Product::kDepth, weights += K::Copies::kPieceBytes) {
        const int slot = sampler.slot(a, tap, first + k, a.group_in - k);
        const DeformPlaceGpu<F>* const places = sampler.places.at(slot) + Product::row(0);
#pragma unroll
        for (int i = 0; i < Product::kRows; ++i) {
          product.set(i, sampled<kHalfMask, T>(from + k * static_cast<int>(sizeof(T)), a, places[i]));
        }
        product.multiply_add(weights, (rows + kRowColumns - 1) / kRowColumns);
      }
    }
  }
  const int64_t o = int64_t{group} * a.group_out + first_out;
  finish_rows<F>(product, out + tile.b * a.out.sample + tile.first * a.out.pixel_stride(), a, epilogue, o, rows, tile.count);
}

template <class T, class F>
void launch_deform_warps(const T* input, const F* weight, const WeightLines& lines, T* out, const DeformArgsGpu& a,
                         const Epilogue& epilogue, cudaStream_t stream) {
  if (a.out.elements() == 0) return;
  const auto run = [&](auto m, auto half_mask) {
    constexpr int M = decltype(m)::value;
    using K = WarpForward<F, M>;
    const Grid blocks(a.g.B * a.tiles(K::kBlockPixels) * a.g.groups * ceil_div(a.g.group_out(), M));
    constexpr size_t kBytes = shared_bytes<typename K::Shared>();
    VFI_LAUNCH((deform_warps_kernel<T, F, M, decltype(half_mask)::value>), blocks, kThreads, kBytes, stream, input, weight, out,
               a, lines, OffsetGroups(a.offset_channels), epilogue);
  };
  const auto with_mask = [&](auto m) {
    if constexpr (std::is_same_v<F, Half>) {
      if (!a.half_mask) return run(m, std::false_type());
    }
    run(m, std::true_type());
  };
  if (a.g.group_out() > 64) {
    with_mask(std::integral_constant<int, 128>());
  } else {
    with_mask(std::integral_constant<int, 64>());
  }
}

}  // namespace vfi::cuda
