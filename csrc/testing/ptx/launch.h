// The instrument: nvcc's PTX of a kernel, executed on the CPU and counted.
//
// From Python, on the ops of vfi_kernels (tests and `vfi-kernels bench --simulate` do so):
//
//     from vfi_kernels.bench.simulator import simulated
//     with simulated(arch="9.0", ops=["splat"]) as counts:   # compiles what is asked for, where it has changed
//         vk.splat(image, flow, None, mode="average")        # CPU tensors; gradients, too
//     for kernel in counts.kernels():                        # a dict per kernel: launches, threads, instructions by
//         print(kernel["name"], kernel["lanes"] / pixels)    # class, sectors, conflicts, registers, shared memory
//     counts.lines("splat_kernel")                           # what each PTX line of a kernel costs
//
// A fault (race, misaligned vector, address outside of the launch's tensors, a barrier that is not reached, a launch that a
// GPU refuses, an instruction that is not known) is a RuntimeError that names kernel, line, block and thread. One launch
// runs at a time, a block after another in an order that a seed chooses. Not modelled: caches, time, ptxas' own code.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "testing/ptx/block.h"
#include "testing/ptx/decoder.h"

namespace vfi::ptx {

// What a GPU has for a launch.
struct Device {
  int capability = 90;
  size_t shared_bytes = 227 * 1024;  // of a block that has opted in
  int multiprocessors = 4;           // what kernels are told; a figure for small runs
};

struct Settings {
  Device device;
  unsigned seed = 0;
  bool races = true;
  int64_t jumps = 1'000'000'000;  // backwards, of a launch's warps
  int64_t sample = 0;             // run so many blocks of a launch, evenly spread, and multiply; 0: all
};
Settings& settings();

// Of the launches of one kernel.
struct Counts {
  const Kernel* kernel = nullptr;
  int64_t launches = 0, blocks = 0, threads = 0;
  int64_t block_threads = 0, shared_bytes = 0;  // the last launch's, and the most
  int64_t most_blocks = 0;                      // of one launch
  bool sized_by_device = false;                 // its grid: the host asked how many multiprocessors there are
  double weight = 1;                            // what the last launch's tallies were multiplied by
  SectorCounts sectors;                         // distinct in a launch, summed over launches
  std::vector<Tally> tallies;
};

// Reads a PTX file; with what ptxas -v says of it (may be empty).
void load_module(const std::string& path, const std::string& ptxas_log);
void load_text(const std::string& text, const std::string& name);
void forget_modules();
const Kernel& kernel_of(const std::string& name);
std::vector<std::string> kernel_names();

using Arguments = std::vector<std::vector<unsigned char>>;
// `storage`: null for the allocations that the arguments point into.
void launch(const std::string& name, Dim3 grid, Dim3 block, size_t dynamic_shared, const Arguments& arguments,
            Storage* storage = nullptr);
void allow_shared(const std::string& name, size_t bytes);  // cudaFuncSetAttribute

// Since the last forget_counts(), by kernel; cleared memory counts as kernel "memset".
const std::map<std::string, Counts>& counts();
void forget_counts();
void count_memset(uintptr_t begin, size_t bytes);
void note_device_asked();  // for the grid of the next launch

}  // namespace vfi::ptx
