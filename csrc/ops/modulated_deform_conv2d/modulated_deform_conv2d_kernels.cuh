// Modulated deformable convolution on CUDA: the forward kernel of any channels and factors, for what
// modulated_deform_conv2d_warp_kernels.cuh does not take. Formulas: modulated_deform_conv2d.h.
//
// A block has some output pixels and M output channels of one group. It goes through the taps and, kChannels at a time, the input
// channels of the group: it samples that piece of the columns into shared memory, loads the same piece of the weights, and
// multiplies. Columns never go to global memory. Where a tap points is worked out once for all channels that share an offset,
// and for as many taps at a time as there is room for.
#pragma once

#include "cuda/epilogue.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_sampling.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_weights.cuh"

namespace vfi::cuda {

template <class F, int M>
struct Forward {
  static constexpr int kPixels = std::is_same_v<F, Half> && M <= 64 ? 128 : 64;
  static constexpr int kChannels = sizeof(F) == 2 ? 64 : 32;  // at a time
  using Left = Panel<F, M, Inner::kDepth, kChannels>;
  using Right = Panel<F, kPixels, Inner::kDepth, kChannels>;
  using Columns = ColumnsIn<Right, false>;
  using Product = SumsOf<F, Left, Right>;
  template <bool kLast>
  using Out = SumPanel<M, kPixels, !kLast>;
  union Shared {
    struct {
      FactorsOf<F, Left, Right> factors;
      DeformPlaces<F, kPixels> places;
    } in;
    Sum<F> sums[M * kPixels + 4 * (M > kPixels ? M : kPixels)];
  };
};

// Sums that lie as To says, finished, to channels o ... of a tile of the output; N neighbours at once.
template <class F, int N, class To, class T, class A>
__device__ __forceinline__ void write_out(T* __restrict__ out, const A* sums, const DenseShape& shape, const Epilogue& epilogue,
                                          int64_t o, int rows, int pixels) {
  constexpr bool kLast = !To::kColumnInside;
  constexpr int kPart = N == 1 ? 1 : 16 / static_cast<int>(sizeof(A));
  constexpr int kPacks = (kLast ? To::kRows : To::kColumns) / N, kLines = kLast ? To::kColumns : To::kRows;
  const bool plain = epilogue.bias == nullptr && epilogue.activation == Activation::kNone;
  for (int e = threadIdx.x; e < kPacks * kLines; e += kThreads) {
    const int inner = e % kPacks * N, line = e / kPacks, m = kLast ? inner : line, n = kLast ? line : inner;
    if (m >= rows || n >= pixels) continue;
    Pack<T, N> values;
#pragma unroll
    for (int i = 0; i < N; i += kPart) {
      const Pack<A, kPart> part = load_pack<A, kPart>(sums + To::at(kLast ? m + i : m, kLast ? n : n + i));
#pragma unroll
      for (int j = 0; j < kPart; ++j) {
        const A sum = part.at[j] * A(kColumnUnit<F>);
        narrow(plain ? sum : finish<T>(epilogue, o + (kLast ? m + i + j : m), sum), values.at[i + j]);
      }
    }
    store_pack(out + m * shape.channel_stride() + n * shape.pixel_stride(), values);
  }
}

template <class F, class To, class Product, class T, class A>
__device__ __forceinline__ void write_tile(Product& sums, A* shared, T* __restrict__ out, const DeformArgsGpu& a,
                                           const Epilogue& epilogue, int64_t o, int rows, int pixels) {
  sums.template store<To>(shared);
  __syncthreads();
  if (a.wide_out) {
    write_out<F, 16 / static_cast<int>(sizeof(T)), To>(out, shared, a.out, epilogue, o, rows, pixels);
  } else {
    write_out<F, 1, To>(out, shared, a.out, epilogue, o, rows, pixels);
  }
}

template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, 2) void deform_kernel(const T* __restrict__ input, const F* __restrict__ weight,
                                                             T* __restrict__ out, DeformArgsGpu a, PackedWeights packed,
                                                             int step, Epilogue epilogue) {
  using K = Forward<F, M>;
  using Shared = typename K::Shared;
  constexpr int kPixels = K::kPixels, kMostSlots = kSlots<F, kPixels>;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const unsigned parts = (a.group_out + M - 1) / M, groups = static_cast<unsigned>(g.groups);
  const int32_t first_out = static_cast<int32_t>(blockIdx.x % parts) * M;
  const int32_t group = static_cast<int32_t>(blockIdx.x / parts % groups), rows = min(a.group_out - first_out, M);
  const PixelTile tile = pixel_tile(g, blockIdx.x / parts / groups, static_cast<unsigned>(a.tiles(kPixels)), kPixels);
  const PixelAt pixel = pixel_at(a, tile, threadIdx.x % kPixels);
  const int32_t first = group * a.group_in, first_q = a.group_in == 0 ? 0 : first / a.offset_channels;
  const int all_slots = a.group_in == 0 ? 0 : (first + a.group_in - 1) / a.offset_channels - first_q + 1;
  F *left = shared->in.factors.left, *right = shared->in.factors.right;
  input += tile.b * a.in.sample;
  typename K::Product sums;
  sums.clear();
  Held held;
  weight += packed.at(group * a.taps, first_out, 0);
  for (int32_t t = 0; t < a.taps; ++t, weight += packed.lines * packed.line) {
    for (int32_t c = 0; c < a.group_in; c += step) {
      const int count = min(a.group_in - c, step), q = (first + c) / a.offset_channels;
      const int slots = (first + c + count - 1) / a.offset_channels - q + 1;
      if (held.replace(a, kMostSlots, t, first_q, all_slots, q, slots)) {
        shared->in.places.find(a, pixel, held.t, held.taps, held.q, held.slots);
        __syncthreads();
      }
      load_weights<typename K::Left>(left, weight + (packed.depth_inside ? c : c * packed.line), packed, c, count);
      sample<N, typename K::Columns>(input, a, shared->in.places.at(held.index(t, q)), q, first + c, count, right);
      const int depth = clear_tail<K::Product::kStep, typename K::Right>(right, count);
      __syncthreads();
      sums.multiply_add(left, right, depth, rows);
      __syncthreads();
    }
  }
  const int64_t o = int64_t{group} * a.group_out + first_out;
  out += tile.b * a.out.sample + o * a.out.channel_stride() + tile.first * a.out.pixel_stride();
  if (a.out.channels_last) {
    write_tile<F, typename K::template Out<true>>(sums, shared->sums, out, a, epilogue, o, rows, tile.count);
  } else {
    write_tile<F, typename K::template Out<false>>(sums, shared->sums, out, a, epilogue, o, rows, tile.count);
  }
}

// Calls run(std::integral_constant<int, M>()): blocks of 64 or 128 rows; float64 has 32.
template <class F, class Run>
void with_rows(int64_t rows, Run&& run) {
  if constexpr (std::is_same_v<F, double>) {
    run(std::integral_constant<int, 32>());
  } else if (rows > 64) {
    run(std::integral_constant<int, 128>());
  } else {
    run(std::integral_constant<int, 64>());
  }
}

// Calls run(std::integral_constant<int, N>()): 16 bytes of channels at once, or one.
template <class T, class F, class Run>
void with_pack(const DeformArgsGpu& a, const void* input, Run&& run) {
  if constexpr (!std::is_same_v<F, double>) {
    constexpr int kMost = 16 / static_cast<int>(sizeof(T));
    if (packs(a, input, kMost)) return run(std::integral_constant<int, kMost>());
  }
  run(std::integral_constant<int, 1>());
}

template <class T, class F>
void launch_deform(const T* input, const F* weight, T* out, const DeformArgsGpu& a, const Epilogue& epilogue,
                   cudaStream_t stream) {
  if (a.out.elements() == 0) return;
  with_rows<F>(a.g.group_out(), [&](auto m) {
    const auto run = [&](auto n) {
      constexpr int M = decltype(m)::value, N = decltype(n)::value, kPixels = Forward<F, M>::kPixels;
      const int64_t blocks = a.g.B * a.tiles(kPixels) * a.g.groups * ceil_div(a.g.group_out(), M);
      constexpr size_t kBytes = shared_bytes<typename Forward<F, M>::Shared>();
      VFI_LAUNCH((deform_kernel<T, F, N, M>), Grid(blocks), kThreads, kBytes, stream, input, weight, out, a,
                 packed_weights<F>(a.g, false), piece_of(a.g, Forward<F, M>::kChannels, kSlots<F, kPixels>), epilogue);
    };
    if constexpr (kTensorCores<F>) {  // in packs they go to launch_deform_warps
      run(std::integral_constant<int, 1>());
    } else {
      with_pack<T, F>(a, input, run);
    }
  });
}

}  // namespace vfi::cuda
