// A package of AOTInductor in a process without Python: run LIBRARY PACKAGE HEIGHT WIDTH prints the mean of the frame.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/torch.h>

int main(int count, char** words) {
  if (count != 5 || dlopen(words[1], RTLD_LAZY | RTLD_GLOBAL) == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  torch::inductor::AOTIModelPackageLoader package(words[2]);
  const auto ramp = torch::arange(3 * std::atoi(words[3]) * std::atoi(words[4])).remainder(97) / 97.0f;
  const auto frame = ramp.view({1, 3, std::atoi(words[3]), std::atoi(words[4])});
  const auto results = package.run({frame, 1 - frame, torch::full({1}, 0.5f)});
  std::printf("%.6f\n", results[0].mean().item<float>());
  return 0;
}
