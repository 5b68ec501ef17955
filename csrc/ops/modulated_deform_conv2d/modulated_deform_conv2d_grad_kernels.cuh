// The gradients of modulated_deform_conv2d.h for input, offset and mask on CUDA. Nothing as large as the columns is in global
// memory. A block owns a tile of pixels and, tap after tap, finds G of all channels in one product, whose factor of grad_out
// stays in shared memory. Then a few threads of each pixel go through its offset groups: where a tap points is worked out
// once, and a channel's four corners are read once, for the sums over channels that the gradients of offset and mask are made
// of, while m w_k G goes to the sums of the input's gradient. The next weights arrive meanwhile.
#pragma once

#include <algorithm>
#include <numeric>

#include "cuda/async_copy.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_grad_taps.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_input_sums.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_sampling.cuh"

namespace vfi::cuda {

template <class F>
struct GradColumns {
  static constexpr int kChannels = sizeof(F) == 8 ? 32 : kTile;  // input channels at a time
  static constexpr int kOut = sizeof(F) == 2 ? 64 : 32;          // output channels at a time
  using Left = Panel<F, kTile, Inner::kDepth, kOut>;
  using Right = Panel<F, kChannels, Inner::kDepth, kOut>;
  using Product = SumsOf<F, Left, Right>;
  using G = SumPanel<kTile, kChannels>;
  struct Shared {
    F grad_out[Left::kElements];
    F weight[Right::kElements];
    Sum<F> g[G::kElements];
  };
};

struct GradColumnsTo {
  MutableView offset, mask;           // data is null where it is not needed
  int64_t offset_bytes, mask_bytes;  // from one channel of them to the next
  InputSums input;
  int32_t shares, parts;  // of the groups; of the taps
  int lanes;              // threads of a pixel that share an offset group: 1, 2 or 4
  bool usual;             // offset, mask and their gradients are there, and of the usual type

  VFI_HOST_DEVICE bool values() const { return offset.data != nullptr || mask.data != nullptr; }
};

// One after another: taps; for each, the channels of the block's groups; for each of these, the output channels that G sums.
template <class K>
struct ColumnStep {
  int32_t t, group, column = 0, k = 0;

  __device__ __forceinline__ int32_t channels(const DeformArgsGpu& a) const { return min(a.group_in - column, K::kChannels); }
  __device__ __forceinline__ int32_t outputs(const DeformArgsGpu& a) const { return min(a.group_out - k, K::kOut); }
  __device__ __forceinline__ bool completes(const DeformArgsGpu& a) const { return k + K::kOut >= a.group_out; }
  // `groups` from `first` on are the block's, and every `parts`-th tap.
  __device__ __forceinline__ void advance(const DeformArgsGpu& a, int32_t first, int32_t groups, int32_t parts) {
    if (!completes(a)) {
      k += K::kOut;
      return;
    }
    k = 0;
    column += channels(a);
    if (column < a.group_in) return;
    column = 0;
    if (++group < first + groups) return;
    group = first;
    t += parts;
  }
};

// `count` k of packed weights, as the right factor. Packs of zeros are among them where k ends.
template <class P, class F>
__device__ __forceinline__ void copy_weights(F* to, const F* __restrict__ from, int64_t line, int32_t count) {
  constexpr bool kInside = P::kDepthInside;
  constexpr int N = P::kPack, kPacks = (kInside ? P::kMost : P::kRows) / N, kLines = kThreads / kPacks;
  const int pack = threadIdx.x % kPacks * N, first = threadIdx.x / kPacks;
  from += first * line + pack;
  to += kInside ? P::at(first, pack) : P::at(pack, first);
  if (kInside && pack >= (count + 15) / 16 * 16) return;
#pragma unroll
  for (int n = 0; n < (kInside ? P::kRows : P::kMost); n += kLines) {
    if (kInside || first + n < count) copy_async<16>(to + (kInside ? P::at(n, 0) : P::at(0, n)), from + n * line, 16);
  }
}

template <class F>
using Usual = std::conditional_t<std::is_same_v<F, Tf32>, float, F>;

template <class A>
__device__ __forceinline__ void store_at(Dtype type, char* at, A value) {
  switch (type) {
    case Dtype::kFloat64: return narrow(value, *reinterpret_cast<double*>(at));
    case Dtype::kFloat32: return narrow(value, *reinterpret_cast<float*>(at));
    case Dtype::kFloat16: return narrow(static_cast<float>(value), *reinterpret_cast<Half*>(at));
    default: return narrow(static_cast<float>(value), *reinterpret_cast<BFloat16*>(at));
  }
}

// A pixel's channels of a gradient of offset or mask.
struct GradAt {
  char* first;
  int64_t step;  // bytes
  Dtype type;

  __device__ __forceinline__ GradAt(const MutableView& view, int64_t bytes, int64_t b, const PixelAt& p)
      : first(static_cast<char*>(view.data)), step(bytes), type(view.dtype) {
    if (first != nullptr) first += pixel_element(view.strides, b, p.i, p.j) * bytes_of(view.dtype);
  }
};

constexpr int kPixelLanes = kThreads / kTile;  // threads of a pixel

// A pixel, as one of its threads has it.
template <class T, class F>
struct GradPixel {
  PixelAt at;
  GradAt offset, mask;
  const char* input;  // the sample's pixel (-1, -1)
  InputSumsAt<Sum<F>> sums;
  int way, ways, sub, lanes;  // offset groups way, way + ways, ...; packs of channels sub, sub + lanes, ...
  bool usual, values;

  __device__ __forceinline__ GradPixel(const T* from, const DeformArgsGpu& a, const GradColumnsTo& to, const PixelTile& tile)
      : at(pixel_at(a, tile, threadIdx.x / kPixelLanes)), offset(to.offset, to.offset_bytes, tile.b, at),
        mask(to.mask, to.mask_bytes, tile.b, at),
        input(reinterpret_cast<const char*>(from + tile.b * a.in.sample) - (a.row_bytes + a.pixel_bytes)),
        sums(to.input, a, tile.b), usual(to.usual), values(to.values()) {
    const int lane = threadIdx.x % kPixelLanes;
    lanes = to.lanes, ways = kPixelLanes / lanes, way = lane / lanes, sub = lane % lanes;
  }

  // Of tap t of an offset group.
  template <class A>
  __device__ __forceinline__ A load(const DeformArgsGpu& a, int32_t q, const TapIndex& t, A (&move)[2]) const {
    if (!usual) return load_tap<F>(a, at, q, t, move);
    const auto element = [](const char* from) { return widen<A>(*reinterpret_cast<const Usual<F>*>(from)); };
    const int64_t channel = q * a.taps + t.t;
    const char* const from = at.offset + channel * (2 * a.offset_bytes);
    move[0] = element(from), move[1] = element(from + a.offset_bytes);
    return element(at.mask + channel * a.mask_bytes);
  }
  template <class A>
  __device__ __forceinline__ void store(const DeformArgsGpu& a, int32_t q, const TapIndex& t, const TapGradient<A>& grad) const {
    const int64_t channel = q * a.taps + t.t;
    char *const to = offset.first + channel * (2 * offset.step), *const to_mask = mask.first + channel * mask.step;
    if (usual) {
      narrow(grad.y, *reinterpret_cast<Usual<F>*>(to));
      narrow(grad.x, *reinterpret_cast<Usual<F>*>(to + offset.step));
      narrow(grad.mask, *reinterpret_cast<Usual<F>*>(to_mask));
      return;
    }
    if (mask.first != nullptr) store_at(mask.type, to_mask, grad.mask);
    if (offset.first == nullptr) return;
    store_at(offset.type, to, grad.y);
    store_at(offset.type, to + offset.step, grad.x);
  }
};

template <int N, class A>
__device__ __forceinline__ void load_grad(const A* g, A (&grad)[N]) {
  constexpr int kPart = N % 4 == 0 ? 4 : 1;
#pragma unroll
  for (int n = 0; n < N; n += kPart) {
    const Pack<A, kPart> part = load_pack<A, kPart>(g + n);
#pragma unroll
    for (int i = 0; i < kPart; ++i) grad[n + i] = part.at[i];
  }
}

// Channels begin, begin + step, ... below `end` at one tap, N of them at once; G of channel 0 would be at g.
template <int N, class T, class F, class A = Sum<F>>
__device__ __forceinline__ void add_channels(const GradPixel<T, F>& p, const DeformArgsGpu& a, const TapCorners<A>& corners,
                                             int32_t begin, int32_t end, int32_t step, const A* g, CornerSums<A>& sums) {
  constexpr int kSize = sizeof(T);
  const char* const from = p.input + uint64_t{corners.at} * a.pixel_bytes;
#pragma unroll 1
  for (int32_t c = begin; c < end; c += step) {
    A grad[N];
    load_grad(g + c, grad);
    if (p.values) {
      const char* const first = from + c * kSize;
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const char* const corner = first + (k & 1 ? a.pixel_bytes : 0) + (k & 2 ? a.row_bytes : 0);
        const char* const at = corners.reads(k) ? corner : static_cast<const char*>(a.zeros);
        const Pack<T, N> v = load_pack<T, N>(reinterpret_cast<const T*>(at));
#pragma unroll
        for (int n = 0; n < N; ++n) sums.at[k] += grad[n] * widen<A>(v.at[n]);
      }
    }
    p.sums.add(corners, c, grad);
  }
}

// What G of `count` channels from `first` on, at g, adds to the gradients at tap t of a pixel. `sums` are those of an offset
// group that goes on.
template <int N, class T, class F, class A = Sum<F>>
__device__ __forceinline__ void add_tap(const GradPixel<T, F>& p, const DeformArgsGpu& a, const TapIndex& t, int32_t first,
                                        int32_t count, const A* g, CornerSums<A>& sums) {
  const int32_t last = (first + count - 1) / a.offset_channels;
  for (int32_t q = first / a.offset_channels / p.ways * p.ways + p.way; q - p.way <= last; q += p.ways) {
    const int32_t group = q * a.offset_channels, whole = group + a.offset_channels;
    const int32_t begin = max(group, first) + p.sub * N, end = min(whole, first + count);
    if (group >= first) sums = CornerSums<A>();
    A move[2];
    const A mask = p.load(a, min(q, static_cast<int32_t>(a.g.offset_groups) - 1), t, move);
    const TapCorners<A> corners(a, p.at, t, move, mask);
    if (corners.any()) add_channels<N>(p, a, corners, begin, end, p.lanes * N, g - first, sums);
    if (!p.values) continue;
    CornerSums<A> all = sums;
    for (int step = 1; step < p.lanes; step *= 2) {
      for (A& sum : all.at) sum += __shfl_xor_sync(kFullWarp, sum, step);
    }
    if (p.sub != 0 || !p.at.inside || begin >= end || end != whole) continue;
    p.store(a, q, t, TapGradient<A>(corners, all, a.g.mmcv_edge));
  }
}

template <class T, class F, int N>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_columns_kernel(const T* __restrict__ grad_out,
                                                                          const T* __restrict__ input,
                                                                          const F* __restrict__ weight, DeformArgsGpu args,
                                                                          PackedWeights packed, GradColumnsTo to) {
  using K = GradColumns<F>;
  using Shared = typename K::Shared;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformArgsGpu a = args;  // in registers: loads of parameters stay behind barriers
  const int32_t part = static_cast<int32_t>(blockIdx.x % static_cast<unsigned>(to.parts));
  const unsigned index = blockIdx.x / static_cast<unsigned>(to.parts), shares = static_cast<unsigned>(to.shares);
  const int32_t groups = static_cast<int32_t>(a.g.groups) / to.shares, first = static_cast<int32_t>(index % shares) * groups;
  const PixelTile tile = pixel_tile(a.g, index / shares, static_cast<unsigned>(a.tiles(kTile)), kTile);
  const GradPixel<T, F> pixel(input, a, to, tile);
  grad_out += tile.b * a.out.sample + tile.first * a.out.channels;
  int32_t held = -1;  // the first of the output channels in shared memory
  const auto load = [&](const ColumnStep<K>& step) {
    const int32_t o = step.group * a.group_out + step.k, outputs = step.outputs(a);
    if (held != o) {
      load_columns<ColumnsIn<typename K::Left, false>>(grad_out + o, a.out.channels, a.wide_out, tile.count, outputs,
                                                       shared->grad_out);
    }
    held = o;
    const F* const from = weight + packed.at(int64_t{step.group} * a.taps + step.t, step.column, step.k);
    copy_weights<typename K::Right>(shared->weight, from, packed.line, outputs);
    end_copies();
  };
  typename K::Product sums;
  sums.clear();
  CornerSums<Sum<F>> corner_sums;
  ColumnStep<K> step{part, first};
  load(step);
  while (step.t < a.taps) {
    constexpr int kStep = K::Product::kStep;
    wait_for_copies<0>();
    __syncthreads();
    sums.multiply_add(shared->grad_out, shared->weight, (step.outputs(a) + kStep - 1) / kStep * kStep, tile.count);
    if (step.completes(a)) {
      sums.template store<typename K::G>(shared->g);
      sums.clear();
    }
    __syncthreads();
    const ColumnStep<K> done = step;
    step.advance(a, first, groups, to.parts);
    if (step.t < a.taps) load(step);
    if (done.completes(a)) {
      add_tap<N>(pixel, a, TapIndex(a.g, done.t), done.group * a.group_in + done.column, done.channels(a),
                 shared->g + K::G::at(threadIdx.x / kPixelLanes, 0), corner_sums);
    }
  }
}

template <class T, class F>
void launch_deform_grad_columns(const T* grad_out, const T* input, const F* weight, const DeformArgsGpu& a, GradColumnsTo to,
                                cudaStream_t stream) {
  constexpr int64_t kEnoughBlocks = 1024;
  to.shares = static_cast<int32_t>(std::gcd(a.g.groups, a.g.offset_groups));
  const int64_t blocks = a.g.B * a.tiles(kTile) * to.shares, slots = a.g.offset_groups / to.shares;
  if (blocks * a.taps * a.g.C == 0) return;
  to.parts = static_cast<int32_t>(std::clamp<int64_t>(kEnoughBlocks / blocks, 1, a.taps));
  to.lanes = slots >= 4 ? 1 : slots >= 2 ? 2 : 4;
  to.offset_bytes = to.offset.strides.channel * bytes_of(to.offset.dtype);
  to.mask_bytes = to.mask.strides.channel * bytes_of(to.mask.dtype);
  const auto is_usual = [](const auto& view) { return view.data != nullptr && view.dtype == kUsual<F>; };
  to.usual = is_usual(a.offset) && is_usual(a.mask) && is_usual(to.offset) && is_usual(to.mask);
  with_pack<T, F>(a, input, [&](auto n) {
    constexpr size_t kBytes = shared_bytes<typename GradColumns<F>::Shared>();
    VFI_LAUNCH((deform_grad_columns_kernel<T, F, decltype(n)::value>), Grid(blocks * to.parts), kThreads, kBytes, stream,
               grad_out, input, weight, a, packed_weights<F>(a.g, true), to);
  });
}

}  // namespace vfi::cuda
