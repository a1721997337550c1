// Usage: layer_call u8|s8 IC OC GROUPS HEIGHT WIDTH WINDOW STRIDE TIMES. Plans a convolution with 8-bit output, bias and ReLU on
// this machine's kernels and runs it TIMES times. For a tool that counts what it executes. Prints the kernel's name, where it is in
// memory, and the MACs of one run.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "octavo/conv.h"

int main(int argc, char** argv) {
  using namespace octavo;
  if (argc != 10) {
    std::fprintf(stderr, "usage: layer_call u8|s8 IC OC GROUPS HEIGHT WIDTH WINDOW STRIDE TIMES\n");
    return 2;
  }
  const auto number = [&](int i) { return int64_t(std::atoll(argv[i])); };
  const int64_t height = number(5), width = number(6), taps = number(7), stride = number(8), pad = taps / 2;
  ConvDesc d;
  d.a = d.numerics.out = std::string(argv[1]) == "s8" ? DType::s8 : DType::u8;
  d.ic = number(2), d.oc = number(3), d.groups = number(4);
  d.window = {height, width, taps, taps, stride, stride, 1, 1, pad, pad, pad, pad};
  const std::vector<int8_t> w(size_t(d.oc * (d.ic / std::max<int64_t>(d.groups, 1)) * taps * taps), 1);
  const std::vector<float> scale(size_t(d.oc), 0.01f), bias(size_t(d.oc), 1.0f);
  d.w = w.data();
  d.numerics.w_scale = scale.data(), d.numerics.w_scale_count = d.oc, d.numerics.bias_f32 = bias.data();
  d.numerics.a = {0.02f, 3}, d.numerics.out_q = {0.05f, 0}, d.numerics.lo = 0;
  const Expected<ConvPlan> plan = ConvPlan::create(d);
  if (!plan) {
    std::fprintf(stderr, "layer_call: %s\n", plan.status().text());
    return 2;
  }
  const std::vector<char> a(size_t(height * width * d.ic), 1);
  std::vector<char> c(size_t(d.window.oh() * d.window.ow() * d.oc)), memory(plan->workspace_bytes() + 64);
  ConvArgs g;
  g.batch = 1, g.a = a.data(), g.c = c.data();
  void* workspace = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  std::printf("%s %p %lld\n", plan->kernel().name, reinterpret_cast<void*>(plan->kernel().brgemm),
              static_cast<long long>(plan->macs()));
  for (int64_t i = 0; i < number(9); ++i)
    if (const Status s = plan->run(g, workspace, single_thread()); !s.ok()) {
      std::fprintf(stderr, "layer_call: %s\n", s.text());
      return 2;
    }
  return 0;
}
