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

// What a block needs now and then waits in shared memory, as the pixels of its threads do: registers are few.
template <class T, class F>
struct WarpBlock {
  const T* input;   // of its sample and first channel
  T* out;           // of its first pixel and output channel
  const F* weight;  // of its first output channel, the first tap and input channel
  int32_t channel, first;  // the first input and output channel
  int32_t rows, pixels;    // output channels and pixels that exist
};

template <class T, class F, int M>
struct WarpForward {
  // Interpolation in float32 takes registers that more rows would need.
  static constexpr int kDown = std::is_same_v<F, Half> && M <= 64 ? 2 : 1, kPieces = 128 / M;
  using Product = HeldRows<F, kDown, M / kRowColumns>;
  static constexpr int kPixels = 16 * kDown, kBlockPixels = kWarps * kPixels;  // of a warp, of a block
  using Sampler = WarpSampler<F, kPixels>;
  using Copies = WeightCopies<F, M, kPieces>;
  static_assert(Sampler::kDepth == Product::kDepth && Copies::kChannels == kPieces * Product::kDepth);
  struct Shared {
    alignas(16) unsigned char weights[2][Copies::kBytes];
    WarpPlaces<F, kPixels> places[kWarps];
    WarpBlock<T, F> block;
    PixelAt pixels[kThreads];
  };
};

// Of one pixel.
template <class T>
__device__ __forceinline__ void store_channels(T* __restrict__ out, bool wide, int count, const float (&sums)[8]) {
  if (!wide) return store_line(out, 1, count, false, sums);
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
#pragma unroll
  for (int n = 0; n < 8; n += kPack) {
    Pack<T, kPack> values;
#pragma unroll
    for (int i = 0; i < kPack; ++i) narrow(sums[n + i], values.at[i]);
    // As words: or else the compiler makes one text of this and the channels one by one.
    if (n < count) *reinterpret_cast<Pack<uint32_t, 4>*>(out + n) = bits_as<Pack<uint32_t, 4>>(values);
  }
}

// Sums of kRows neighbouring pixels, `pixels` of which exist, and `count` of eight output channels; out is of the first ones.
template <class T, int kRows>
__device__ __forceinline__ void store_sums(T* __restrict__ out, const DenseShape& shape, bool wide, int pixels, int count,
                                           const float (&sums)[kRows][8]) {
  if (shape.channels_last) {
#pragma unroll
    for (int i = 0; i < kRows; ++i, out += shape.channels) {
      if (i < pixels) store_channels(out, wide, count, sums[i]);
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

// out is of the warp's first pixel and of output channel `first`; `rows` from there on, and `pixels`, are wanted.
template <class F, class Product, class T>
__device__ __forceinline__ void finish_rows(Product& product, T* __restrict__ out, const DeformArgsGpu& a,
                                            const Epilogue& epilogue, int32_t first, int rows, int pixels) {
  constexpr int kRows = Product::kRows, kParts = sizeof(product.sums) / sizeof(product.sums[0]);
  const int pixel = Product::row(0);
  out += pixel * a.out.pixel_stride();
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

template <class T, class F, int M, bool kHalfMask, class K = WarpForward<T, F, M>>
__global__ __launch_bounds__(kThreads, 2) void deform_warps_kernel(
    const T* __restrict__ input, const F* __restrict__ weight, T* __restrict__ out, DeformArgsGpu a, WeightLines lines,
    OffsetGroups offset_groups, Epilogue epilogue) {
  using Shared = typename K::Shared;
  using Product = typename K::Product;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const unsigned parts = (a.group_out + M - 1) / M, groups = static_cast<unsigned>(g.groups);
  const int32_t first_out = static_cast<int32_t>(blockIdx.x % parts) * M;
  const int32_t group = static_cast<int32_t>(blockIdx.x / parts % groups), rows = min(a.group_out - first_out, M);
  const unsigned tiles = static_cast<unsigned>(a.tiles(K::kBlockPixels));
  PixelTile tile = pixel_tile(g, blockIdx.x / parts / groups, tiles, K::kBlockPixels);
  const int32_t o = group * a.group_out + first_out, first = group * a.group_in;
  const WarpBlock<T, F> block = {input + tile.b * a.in.sample + first,
                                 out + tile.b * a.out.sample + tile.first * a.out.pixel_stride() + o * a.out.channel_stride(),
                                 weight + group * lines.group + first_out * lines.row, first, o, rows, tile.count};
  if (threadIdx.x == 0) shared->block = block;
  const int32_t first_pixel = threadIdx.x / 32 * K::kPixels, before = min(first_pixel, tile.count);
  tile.first += before, tile.count = min(tile.count - before, K::kPixels);
  shared->pixels[threadIdx.x] = pixel_at(a, tile, WarpPlaces<F, K::kPixels>::pixel());
  typename K::Sampler sampler{shared->places[threadIdx.x / 32], shared->pixels[threadIdx.x], offset_groups};
  sampler.places.begin();
  Product product;
  product.clear();
  const int32_t pieces = (a.group_in + K::Copies::kChannels - 1) / K::Copies::kChannels;
  const CornerSteps steps(a);
  K::Copies::begin(shared->weights[0], block.weight, a, lines, rows, 0, 0);
  for (TapIndex tap(g, 0); tap.t < a.taps; tap.advance(g)) {
    sampler.forget();
    for (int32_t c = 0; c < a.group_in; c += K::Copies::kChannels) {
      const int buffer = (tap.t * pieces + c / K::Copies::kChannels) % 2;
      const int32_t later = c + K::Copies::kChannels;
      wait_for_copies<0>();
      __syncthreads();
      K::Copies::begin(shared->weights[buffer ^ 1], shared->block.weight, a, lines, shared->block.rows,
                       later < a.group_in ? tap.t : tap.t + 1, later < a.group_in ? later : 0);
      const unsigned char* weights = shared->weights[buffer];
      const int32_t end = first_pixel < shared->block.pixels ? min(later, a.group_in) : c;
#pragma unroll 1
      for (int32_t k = c; k < end; k += Product::kDepth, weights += K::Copies::kPieceBytes) {
        const int slot = sampler.slot(a, tap, shared->block.channel + k, a.group_in - k);
        const char* const from = reinterpret_cast<const char*>(shared->block.input + k + Product::depth());
        const DeformPlaceGpu<F>* const places = sampler.places.at(slot) + Product::row(0);
#pragma unroll
        for (int i = 0; i < Product::kRows; ++i) {
          product.set(i, sampled<kHalfMask, T>(from, steps, load_place(places + i)));
        }
        product.multiply_add(weights, shared->block.rows);
      }
    }
  }
  finish_rows<F>(product, shared->block.out + first_pixel * a.out.pixel_stride(), a, epilogue, shared->block.first,
                 shared->block.rows, shared->block.pixels - first_pixel);
}

template <class T, class F>
void launch_deform_warps(const T* input, const F* weight, const WeightLines& lines, T* out, const DeformArgsGpu& a,
                         const Epilogue& epilogue, cudaStream_t stream) {
  if (a.out.elements() == 0) return;
  const auto run = [&](auto m, auto half_mask) {
    constexpr int M = decltype(m)::value;
    using K = WarpForward<T, F, M>;
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
