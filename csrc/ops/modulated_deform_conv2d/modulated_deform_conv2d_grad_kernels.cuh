// The gradients of modulated_deform_conv2d.h for input, offset and mask on CUDA. Nothing as large as the columns is in global
// memory. A block owns a tile of pixels and, tap after tap, finds G of all channels in one product, whose factor of grad_out
// stays in shared memory. Then a few threads of each pixel go through its offset groups: they read the corners once, for the
// sums over channels that the gradients of offset and mask are made of, and spread the gradient of the input by atomics.
#pragma once

#include <algorithm>
#include <numeric>

#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_input_sums.cuh"
#include "ops/modulated_deform_conv2d/modulated_deform_conv2d_sampling.cuh"

namespace vfi::cuda {

template <class F, int M>
struct GradColumns {
  static constexpr int kOut = sizeof(F) == 2 ? 64 : 32;  // output channels at a time
  using Left = Panel<F, M, Inner::kDepth, kOut>;
  using Right = Panel<F, kTile, Inner::kDepth, kOut>;
  using Product = SumsOf<F, Left, Right>;
  using G = SumPanel<M, kTile, false>;
  struct Shared {
    F grad_out[Right::kElements];
    union {
      F weight[Left::kElements];
      Sum<F> g[G::kElements];
    };
  };
};

struct GradColumnsTo {
  MutableView offset, mask;  // data is null where it is not needed
  InputSums input;
  int32_t shares, parts;  // of the groups; of the taps
  int lanes;              // threads of a pixel that share an offset group: 1, 2 or 4
};

// The output channels that a block has in shared memory.
struct HeldOutputs {
  int32_t first = -1;
};

// shared.g = G of the channels from `channel` on, all of one group, at the pixels of the tile. The caller has gone past a
// barrier since it last used `shared`; it may read at once.
template <class K, class T, class F>
__device__ __forceinline__ void find_grad_columns(typename K::Shared& shared, HeldOutputs& held, const T* __restrict__ grad_out,
                                                  const F* __restrict__ weight, const DeformArgsGpu& a,
                                                  const PackedWeights& packed, const PixelTile& tile, int32_t t,
                                                  int32_t group, int32_t row, int count) {
  typename K::Product sums;
  sums.clear();
  for (int32_t k = 0; k < a.group_out; k += K::kOut) {
    const int depth = min(a.group_out - k, K::kOut), o = group * a.group_out + k;
    if (held.first != o) {
      const T* const from = grad_out + tile.b * a.out.sample + tile.first * a.out.channels + o;
      load_columns<ColumnsIn<typename K::Right, false>>(from, a.out.channels, a.wide_out, tile.count, depth, shared.grad_out);
      held.first = o;
    }
    load_weights<typename K::Left>(shared.weight, weight + packed.at(group * a.taps + t, row, k), packed, k, depth);
    __syncthreads();
    sums.multiply_add(shared.weight, shared.grad_out, (depth + K::Product::kStep - 1) / K::Product::kStep * K::Product::kStep,
                      count);
    __syncthreads();
  }
  sums.template store<typename K::G>(shared.g);
  __syncthreads();
}

// The corners of a tap: factors of their weights, 0 outside, and whether the second one is inside, where its factor may be 0
// and still move. Numbers, not truths: a truth that is kept costs more.
template <class A>
struct TapCorners {
  int32_t at_y, at_x;
  A y[2], x[2], in_y, in_x, mask;

  __device__ __forceinline__ explicit TapCorners(const Tap<A>& tap)
      : at_y(tap.y.at), at_x(tap.x.at), y{tap.y.in0 ? tap.y.r : A(0), tap.y.in1 ? tap.y.l : A(0)},
        x{tap.x.in0 ? tap.x.r : A(0), tap.x.in1 ? tap.x.l : A(0)}, in_y(tap.y.in1), in_x(tap.x.in1), mask(tap.mask) {}
  __device__ __forceinline__ bool used(int k) const { return y[k >> 1] != A(0) && x[k & 1] != A(0); }
  __device__ __forceinline__ bool along_x(int k) const { return y[k >> 1] != A(0) && (k & 1 ? in_x : x[0]) != A(0); }
  __device__ __forceinline__ bool along_y(int k) const { return x[k & 1] != A(0) && (k & 2 ? in_y : y[0]) != A(0); }
  __device__ __forceinline__ bool reads(int k) const {
    if (k == 3) return along_x(3) || along_y(3);
    return (k & 2 ? in_y : y[0]) != A(0) && (k & 1 ? in_x : x[0]) != A(0);
  }
  __device__ __forceinline__ A weight(int k) const { return y[k >> 1] * x[k & 1]; }
  __device__ __forceinline__ bool any() const { return (x[0] != A(0) || in_x != A(0)) && (y[0] != A(0) || in_y != A(0)); }
  // A coordinate is exactly -1.
  __device__ __forceinline__ bool on_edge() const {
    return (at_y == -1 && in_y != A(0) && y[1] == A(0)) || (at_x == -1 && in_x != A(0) && x[1] == A(0));
  }
};

// Sums over the channels of an offset group of G times the value at each corner.
template <class A>
struct CornerSums {
  A at[4] = {A(0), A(0), A(0), A(0)};
};

// The gradients of one tap of a pixel, from those sums. A corner that takes no part adds nothing, whatever is there.
template <class A>
struct TapGradient {
  A mask = A(0), x = A(0), y = A(0);

  __device__ __forceinline__ TapGradient(const TapCorners<A>& c, const CornerSums<A>& sums, bool mmcv_edge) {
    const auto sum = [&](bool takes_part, int k) { return takes_part ? sums.at[k] : A(0); };
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      mask += c.y[j] * (c.x[0] * sum(c.used(2 * j), 2 * j) + c.x[1] * sum(c.used(2 * j + 1), 2 * j + 1));
      x += c.y[j] * (sum(c.along_x(2 * j + 1), 2 * j + 1) - sum(c.along_x(2 * j), 2 * j));
      y += c.x[j] * (sum(c.along_y(2 + j), 2 + j) - sum(c.along_y(j), j));
    }
    const bool still = !c.any() || (mmcv_edge && c.on_edge());
    x = still ? A(0) : c.mask * x;
    y = still ? A(0) : c.mask * y;
  }
};

// Where a pixel's gradients of offset and mask are.
struct GradAt {
  int64_t offset, mask;  // elements of channel 0
};

template <class F, class A>
__device__ __forceinline__ void store_at(const MutableView& view, int64_t element, A value) {
  using Usual = std::conditional_t<std::is_same_v<F, Tf32>, float, F>;
  if (view.dtype == kUsual<F>) return narrow(value, static_cast<Usual*>(view.data)[element]);
  switch (view.dtype) {
    case Dtype::kFloat64: return narrow(value, static_cast<double*>(view.data)[element]);
    case Dtype::kFloat32: return narrow(value, static_cast<float*>(view.data)[element]);
    case Dtype::kFloat16: return narrow(static_cast<float>(value), static_cast<Half*>(view.data)[element]);
    default: return narrow(static_cast<float>(value), static_cast<BFloat16*>(view.data)[element]);
  }
}

template <class F, class A>
__device__ __forceinline__ void store_tap(const GradColumnsTo& to, const GradAt& at, int64_t channel,
                                          const TapGradient<A>& grad) {
  if (to.mask.data != nullptr) store_at<F>(to.mask, at.mask + channel * to.mask.strides.channel, grad.mask);
  if (to.offset.data == nullptr) return;
  const int64_t step = to.offset.strides.channel, element = at.offset + 2 * channel * step;
  store_at<F>(to.offset, element, grad.y);
  store_at<F>(to.offset, element + step, grad.x);
}

// What a thread goes through: channels begin, begin + step, ... of an offset group, up to `end`; G of channel `first` is at g.
struct ChannelRun {
  int32_t begin, end, step, first;
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

// Adds the channels to `sums`. N of them are loaded at once. `input` is the sample's.
template <int N, class T, class A>
__device__ __forceinline__ void add_corners(const T* __restrict__ input, const DeformArgsGpu& a, const TapCorners<A>& corners,
                                            const ChannelRun& run, const A* g, CornerSums<A>& sums) {
  const int64_t pixel = int64_t{corners.at_y} * a.g.W + corners.at_x;
  const char* from = reinterpret_cast<const char*>(input) + pixel * a.pixel_bytes;
#pragma unroll 1
  for (int32_t c = run.begin; c < run.end; c += run.step) {
    A grad[N];
    load_grad(g + c - run.first, grad);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const char* const corner = from + (k & 1 ? a.pixel_bytes : 0) + (k & 2 ? a.row_bytes : 0) + c * static_cast<int>(sizeof(T));
      const char* const at = corners.reads(k) ? corner : static_cast<const char*>(a.zeros);
      const Pack<T, N> v = load_pack<T, N>(reinterpret_cast<const T*>(at));
#pragma unroll
      for (int n = 0; n < N; ++n) sums.at[k] += grad[n] * widen<A>(v.at[n]);
    }
  }
}

// Adds them to the gradient of the input.
template <bool kFixed, int N, class A>
__device__ __forceinline__ void spread_as(const InputSums& to, int32_t width, int64_t b, const TapCorners<A>& corners,
                                          const ChannelRun& run, const A* g, A scale) {
  const int64_t pixel = b * to.sample + 4 * (int64_t{corners.at_y} * width + corners.at_x);
#pragma unroll 1
  for (int32_t c = run.begin; c < run.end; c += run.step) {
    A grad[N];
    load_grad(g + c - run.first, grad);
    const int64_t element = pixel + (c >> 2) * to.four + (c & 3);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (!corners.used(k)) continue;
      const int64_t corner = element + (k & 1 ? 4 : 0) + (k & 2 ? 4 * int64_t{width} : 0);
      add_input_gradient<kFixed>(to, corner, corners.mask * corners.weight(k), grad, scale);
    }
  }
}

template <int N, class A>
__device__ __forceinline__ void spread(const InputSums& to, int32_t width, int64_t b, const TapCorners<A>& corners,
                                       const ChannelRun& run, const A* g, A scale) {
  if (to.fixed != nullptr) {
    spread_as<true, N>(to, width, b, corners, run, g, scale);
  } else if (to.sums != nullptr) {
    spread_as<false, N>(to, width, b, corners, run, g, scale);
  }
}

constexpr int kPixelLanes = kThreads / kTile;  // threads of a pixel

template <class T, class F, int N, int M>
__global__ __launch_bounds__(kThreads, 2) void deform_grad_columns_kernel(const T* __restrict__ grad_out,
                                                                          const T* __restrict__ input,
                                                                          const F* __restrict__ weight, DeformArgsGpu a,
                                                                          PackedWeights packed, GradColumnsTo to) {
  using A = Sum<F>;
  using K = GradColumns<F, M>;
  using Shared = typename K::Shared;
  VFI_DYNAMIC_SHARED(Shared, shared);
  const DeformGeometry& g = a.g;
  const int32_t part = static_cast<int32_t>(blockIdx.x % static_cast<unsigned>(to.parts));
  const unsigned index = blockIdx.x / static_cast<unsigned>(to.parts), shares = static_cast<unsigned>(to.shares);
  const int32_t share = static_cast<int32_t>(index % shares), groups = static_cast<int32_t>(g.groups) / to.shares;
  const PixelTile tile = pixel_tile(g, index / shares, static_cast<unsigned>(a.tiles(kTile)), kTile);
  const int lane = threadIdx.x % kPixelLanes, pixel = threadIdx.x / kPixelLanes;
  const int lanes = to.lanes, ways = kPixelLanes / lanes, way = lane / lanes, sub = lane % lanes;
  const PixelAt at = pixel_at(a, tile, pixel);
  const GradAt grad_at{pixel_element(to.offset.strides, tile.b, at.i, at.j),
                       pixel_element(to.mask.strides, tile.b, at.i, at.j)};
  const bool values = to.offset.data != nullptr || to.mask.data != nullptr;
  A scale = A(1);
  if (to.input.fixed != nullptr) scale = power_of_2<A>(scale_exponent<A>(to.input, a));
  input += tile.b * a.in.sample;
  HeldOutputs held;
  for (TapIndex tap(g, part); tap.t < a.taps; tap = TapIndex(g, tap.t + to.parts)) {
    CornerSums<A> sums;  // those of an offset group may go on in the next piece
    for (int32_t row = 0; row < groups * a.group_in;) {
      const int32_t group = share * groups + row / a.group_in, column = row % a.group_in;
      const int32_t first = share * groups * a.group_in + row, count = min(a.group_in - column, M);
      find_grad_columns<K>(*shared, held, grad_out, weight, a, packed, tile, tap.t, group, column, count);
      const A* const columns = shared->g + K::G::at(0, pixel);
      const int32_t last = (first + count - 1) / a.offset_channels;
      for (int32_t q = first / a.offset_channels / ways * ways + way; q - way <= last; q += ways) {
        const int32_t begin = q * a.offset_channels, end = begin + a.offset_channels;
        const ChannelRun run{max(begin, first) + sub * N, min(end, first + count), lanes * N, first};
        if (begin >= first) sums = CornerSums<A>();
        const int32_t near = min(max(q, 0), static_cast<int32_t>(g.offset_groups) - 1);
        const TapCorners<A> where(tap_at<F>(a, at, near, tap, at.inside && run.begin < end));
        if (where.any()) {
          if (values) add_corners<N>(input, a, where, run, columns, sums);
          spread<N>(to.input, g.W, tile.b, where, run, columns, scale);
        }
        if (!values) continue;
        CornerSums<A> all = sums;
        for (int step = 1; step < lanes; step *= 2) {
          for (A& sum : all.at) sum += __shfl_xor_sync(kFullWarp, sum, step);
        }
        if (sub == 0 && at.inside && begin < first + count && first < end && end <= first + count) {
          store_tap<F>(to, grad_at, int64_t{q} * a.taps + tap.t, TapGradient<A>(where, all, g.mmcv_edge));
        }
      }
      row += count;
      __syncthreads();
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
  with_rows<F>(a.g.group_in(), [&](auto m) {
    with_pack<T, F>(a, input, [&](auto n) {
      constexpr int M = decltype(m)::value, N = decltype(n)::value;
      constexpr size_t kBytes = shared_bytes<typename GradColumns<F, M>::Shared>();
      VFI_LAUNCH((deform_grad_columns_kernel<T, F, N, M>), Grid(blocks * to.parts), kThreads, kBytes, stream, grad_out, input,
                 weight, a, packed_weights<F>(a.g, true), to);
    });
  });
}

}  // namespace vfi::cuda
