// Usage: kernel_call PREFIX [K [M N]]. Calls once, on a whole tile (or M x N) with output of its input's type, the first kernel
// whose name begins with PREFIX, for a tool that traces what it executes. Prints the kernel's name, where it is in memory, and
// the tile.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "octavo/registry.h"

int main(int argc, char** argv) {
  using namespace octavo;
  const std::string prefix = argc > 1 ? argv[1] : "?";
  const KernelInfo* kernel = nullptr;
  for (const KernelInfo& k : kernels())
    if (!kernel && k.op == Op::brgemm && std::string(k.name).starts_with(prefix)) kernel = &k;
  if (!kernel) {
    std::fprintf(stderr, "kernel_call: no brgemm kernel begins with '%s'\n", prefix.c_str());
    return 2;
  }
  if (!covers(detected_isa(), kernel->needs)) {
    std::fprintf(stderr, "kernel_call: this machine cannot run %s\n", kernel->name);
    return 2;
  }
  BrgemmArgs g;
  g.k = argc > 2 ? std::atoll(argv[2]) : 64;
  g.m = argc > 4 ? std::atoi(argv[3]) : kernel->mr;
  g.n = argc > 4 ? std::atoi(argv[4]) : kernel->nr;
  EpilogueArgs e;
  e.out = kernel->a;

  const size_t row = size_t(g.k) * size_of(kernel->a), columns = size_t(kernel->nr), bytes = panel_bytes(kernel->format, g.k);
  const std::vector<char> a(row * size_t(g.m), 1);
  std::vector<char> b(bytes + 64, 1), c(size_t(g.m) * columns * 4);
  const std::vector<int32_t> bias(columns, 1);
  const std::vector<float> scale(columns, 0.001f), bias_f32(columns, 1.0f);
  const void* tap = a.data();
  e.lo = 0;
  e.hi = 127;
  if (kernel->a == DType::f32) {
    e.bias_f32 = bias_f32.data();
  } else {
    e.bias = bias.data();
    e.scale = scale.data();
  }
  g.a = &tap;
  g.a_stride_bytes = ptrdiff_t(row);
  g.b = b.data() + (64 - reinterpret_cast<uintptr_t>(b.data()) % 64) % 64;
  g.c = c.data();
  g.c_stride_bytes = ptrdiff_t(columns * size_of(e.out));
  g.epi = &e;
  std::printf("%s %p %d %d\n", kernel->name, reinterpret_cast<void*>(kernel->brgemm), g.m, g.n);
  std::fflush(stdout);
  kernel->brgemm(&g);
  return 0;
}
