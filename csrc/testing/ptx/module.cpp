// The Python module vfi_kernels_ptx: loads PTX, says how it runs, gives the counts. Importing it registers the host code of
// the CUDA kernels as vfi_simulated::<op> for CPU tensors, as vfi_kernels_testing registers vfi_emulated.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "testing/ptx/fragments.h"
#include "testing/ptx/launch.h"

namespace py = pybind11;

namespace {

using namespace vfi::ptx;

py::dict by_class(const Counts& c, int64_t Tally::* what) {
  int64_t sums[kClasses] = {};
  for (size_t n = 0; n < c.tallies.size(); ++n) sums[static_cast<int>(c.kernel->code[n].counted)] += c.tallies[n].*what;
  py::dict d;
  for (int n = 0; n < kClasses; ++n) {
    if (sums[n] != 0) d[kClassNames[n]] = sums[n];
  }
  return d;
}

// By the kind of the factors: half (bfloat16, too) or tf32.
py::dict tensor_multiplications(const Counts& c) {
  int64_t half = 0, tf32 = 0;
  for (size_t n = 0; n < c.tallies.size(); ++n) {
    const Op& op = c.kernel->code[n];
    if (op.counted == Class::kTensor) (op.kind == kTf32Factor ? tf32 : half) += op.value * c.tallies[n].issued;
  }
  py::dict d;
  d["half"] = half;
  d["tf32"] = tf32;
  return d;
}

py::dict facts(const std::string& name, const Counts& c) {
  py::dict d;
  d["name"] = name;
  d["launches"] = c.launches;
  d["blocks"] = c.blocks;
  d["threads"] = c.threads;
  d["block_threads"] = c.block_threads;
  d["most_blocks"] = c.most_blocks;
  d["sized_by_device"] = c.sized_by_device;
  d["sectors_read"] = c.sectors.read;
  d["sectors_written"] = c.sectors.written;
  d["sectors_added"] = c.sectors.added;
  if (c.kernel == nullptr) return d;
  Tally sum;
  for (const Tally& t : c.tallies) {
    sum.issued += t.issued, sum.lanes += t.lanes, sum.requests += t.requests, sum.sectors += t.sectors;
    sum.wavefronts += t.wavefronts, sum.least_wavefronts += t.least_wavefronts;
  }
  d["issued"] = sum.issued;
  d["lanes"] = sum.lanes;
  d["requests"] = sum.requests;
  d["sectors"] = sum.sectors;
  d["wavefronts"] = sum.wavefronts;
  d["least_wavefronts"] = sum.least_wavefronts;
  d["issued_by_class"] = by_class(c, &Tally::issued);
  d["lanes_by_class"] = by_class(c, &Tally::lanes);
  d["requests_by_class"] = by_class(c, &Tally::requests);
  d["sectors_by_class"] = by_class(c, &Tally::sectors);
  d["tensor_multiplications"] = tensor_multiplications(c);
  d["registers"] = c.kernel->registers;
  d["spilled_bytes"] = c.kernel->spilled_bytes;
  d["local_bytes"] = c.kernel->entry->local_bytes;
  d["shared_bytes"] = c.shared_bytes;
  d["instructions"] = c.kernel->code.size();
  return d;
}

py::list lines(const std::string& name) {
  const auto found = counts().find(name);
  if (found == counts().end()) fail("kernel " + name + " was not launched");
  const Counts& c = found->second;
  py::list all;
  for (size_t n = 0; n < c.tallies.size(); ++n) {
    const Tally& t = c.tallies[n];
    const Instruction& i = c.kernel->entry->code[n];
    all.append(
        py::make_tuple(i.line, i.text, t.issued, t.lanes, t.requests, t.sectors, t.wavefronts, t.least_wavefronts));
  }
  return all;
}

// Runs one kernel. An argument: an array, which is then all the memory there is, with the others; or the bytes of a number
// or an address.
void run(const std::string& name, const std::vector<uint32_t>& grid, const std::vector<uint32_t>& block,
         size_t shared_bytes, const py::list& arguments) {
  Storage storage;
  Arguments packed;
  bool arrays = false;
  for (const py::handle& argument : arguments) {
    if (py::isinstance<py::array>(argument)) {
      const auto array = py::reinterpret_borrow<py::array>(argument);
      const auto at = reinterpret_cast<uintptr_t>(array.data());
      storage.add(at, static_cast<size_t>(array.nbytes()));
      arrays = true;
      packed.emplace_back(sizeof(at));
      std::memcpy(packed.back().data(), &at, sizeof(at));
    } else {
      const auto bytes = py::cast<std::string>(argument);
      packed.emplace_back(bytes.begin(), bytes.end());
    }
  }
  launch(name, {grid.at(0), grid.at(1), grid.at(2)}, {block.at(0), block.at(1), block.at(2)}, shared_bytes, packed,
         arrays ? &storage : nullptr);
}

}  // namespace

PYBIND11_MODULE(vfi_kernels_ptx, m) {
  m.doc() = "The CUDA kernels as nvcc compiles them, executed and counted on the CPU.";
  watch_allocations();
  m.def("load", &load_module, "Reads a PTX file, and what ptxas -v says of it.");
  m.def("load_text", &load_text);
  m.def("forget_modules", &forget_modules);
  m.def("kernels", &kernel_names, "The names of those that are loaded.");
  m.def("decode", [](const std::string& name) { return kernel_of(name).code.size(); }, "How many instructions it has.");
  m.def("name_allocation", &name_allocation, "Memory from before this module was there; false where it is known.");
  m.def("forget_allocation", &forget_allocation);
  m.def("set_seed", [](unsigned seed) { settings().seed = seed; }, "Order of blocks and warps; 0 is the natural one.");
  m.def("set_jumps", [](int64_t jumps) { settings().jumps = jumps; }, "How often the warps of a launch may jump back.");
  m.def("set_races", [](bool on) { settings().races = on; });
  m.def("set_sample", [](int64_t blocks) { settings().sample = blocks; }, "Run so many blocks of each launch; 0: all.");
  m.def("set_device", [](int capability, size_t shared_bytes, int multiprocessors) {
    settings().device = {capability, shared_bytes, multiprocessors};
  });
  m.def("allow_shared", &allow_shared);
  m.def("run", &run);
  m.def("forget_counts", &forget_counts);
  m.def("counts", [] {
    py::list all;
    for (const auto& [name, c] : counts()) all.append(facts(name, c));
    return all;
  });
  m.def("lines", &lines,
        "(line, text, issued, lanes, requests, sectors, wavefronts, least wavefronts) of a kernel's lines.");
}
