// Included before anything else where g++ compiles the *_cuda.cu files for the PTX simulator: as cuda_emulation.h, but a
// launch runs what nvcc made of the kernel. The bodies that g++ sees are there for their names alone.
#pragma once

#define VFI_EMULATED_LIBRARY vfi_simulated
#include "testing/cuda_emulation.h"

#include "testing/ptx/host.h"

#undef VFI_LAUNCH
#define VFI_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                          \
  ((void)(stream), ::vfi::ptx::launch_kernel(#kernel, kernel, ::vfi::cuda::checked_grid(grid), dim3(block), \
                                             shared_bytes, __VA_ARGS__))

#define VFI_HOST_KERNEL(kernel) (::vfi::ptx::HostKernel{reinterpret_cast<const void*>(kernel), #kernel})
#define cudaMemsetAsync(data, value, bytes, stream) \
  ((void)(stream), ::vfi::ptx::set_memory(data, value, bytes), cudaSuccess)
#define cudaFuncSetAttribute(kernel, attribute, value) \
  ((void)(attribute), ::vfi::ptx::allow_shared_of(VFI_HOST_KERNEL(kernel), value), cudaSuccess)
#define cudaDeviceGetAttribute(to, attribute, device) (*(to) = ::vfi::ptx::device_attribute(attribute), cudaSuccess)
#define cudaOccupancyMaxActiveBlocksPerMultiprocessor(to, kernel, threads, shared_bytes) \
  (*(to) = ::vfi::ptx::resident_blocks(VFI_HOST_KERNEL(kernel), threads, shared_bytes), cudaSuccess)
