// What the unchanged host code of the kernels calls in place of CUDA: launches go to the simulator by the kernel's name,
// which is the one that nvcc gives it too, with the arguments as bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace vfi::ptx {

using Bytes = std::vector<unsigned char>;
using Triple = uint32_t[3];

// A kernel, and how the source calls it: a static one has no name that could be asked for.
struct HostKernel {
  const void* function;
  const char* text;
};

void launch_function(const HostKernel& kernel, const Triple& grid, const Triple& block, size_t shared_bytes,
                     std::vector<Bytes> arguments);
void allow_shared_of(const HostKernel& kernel, size_t bytes);
void set_memory(void* data, int value, size_t bytes);
int device_attribute(int attribute);
int resident_blocks(const HostKernel& kernel, int threads, size_t shared_bytes);

template <class P>
Bytes bytes_of(const P& p) {
  Bytes bytes(sizeof(P));
  std::memcpy(bytes.data(), &p, sizeof(P));
  return bytes;
}

template <class Grid, class Block, class... P, class... Args>
void launch_kernel(const char* text, void (*kernel)(P...), const Grid& grid, const Block& block, size_t shared_bytes,
                   Args&&... args) {
  const Triple g = {grid.x, grid.y, grid.z}, b = {block.x, block.y, block.z};
  launch_function({reinterpret_cast<const void*>(kernel), text}, g, b, shared_bytes,
                  {bytes_of<P>(static_cast<P>(args))...});
}

}  // namespace vfi::ptx
