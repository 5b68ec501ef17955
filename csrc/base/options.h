// The options of the ops that are one of a few words. A schema takes the number of the word: a string costs an allocation
// in every call, which torch's stable ABI never frees. vfi_kernels/_options.py has the same words in the same order.
#pragma once

#include <cstdint>

namespace vfi {

enum class Padding { kBorder, kZeros, kReflection };
enum class Boundary { kKeys, kLinear, kReplicate };
enum class Mode { kSum, kAverage, kLinear, kSoftmax };
enum class Holes { kZero, kAdd, kClip };
enum class Edge { kTorchvision, kMmcv };
enum class Border { kZero, kImage };
enum class Cost { kDot, kL1 };
// What follows a convolution in the same kernel: max(x, 0); x or slope x where x <= 0, with one slope or one for each
// channel; x (1 + erf(x / sqrt 2)) / 2. Kernels get kPrelu for kLeakyRelu.
enum class Activation { kNone, kRelu, kPrelu, kGelu, kLeakyRelu };

template <class E>
struct Option;
template <>
struct Option<Padding> {
  static constexpr const char *name = "padding_mode", *words[] = {"border", "zeros", "reflection"};
};
template <>
struct Option<Boundary> {
  static constexpr const char *name = "boundary", *words[] = {"keys", "linear", "replicate"};
};
template <>
struct Option<Mode> {
  static constexpr const char *name = "mode", *words[] = {"sum", "average", "linear", "softmax"};
};
template <>
struct Option<Holes> {
  static constexpr const char *name = "holes", *words[] = {"zero", "add", "clip"};
};
template <>
struct Option<Edge> {
  static constexpr const char *name = "edge", *words[] = {"torchvision", "mmcv"};
};
template <>
struct Option<Border> {
  static constexpr const char *name = "padding_mode", *words[] = {"zeros", "image"};
};
template <>
struct Option<Cost> {
  static constexpr const char *name = "cost", *words[] = {"dot", "l1"};
};
template <>
struct Option<Activation> {
  static constexpr const char *name = "activation", *words[] = {"none", "relu", "prelu", "gelu", "leaky_relu"};
};

template <class E>
constexpr const char* word(E value) {
  return Option<E>::words[static_cast<int>(value)];
}

}  // namespace vfi
