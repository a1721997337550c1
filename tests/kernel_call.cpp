// Usage: kernel_call KERNEL [K DTYPE_OUT [M N]]. Calls a brgemm kernel once on a whole tile (or M x N), for a tool that traces what it
// executes. Prints where the kernel is in memory, so that the tool finds its instructions, and the tile.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "octavo/registry.h"

int main(int argc, char** argv) {
  using namespace octavo;
  const KernelInfo* kernel = argc > 1 ? find_kernel(argv[1]) : nullptr;
  if (!kernel || kernel->op != Op::brgemm) {
    std::fprintf(stderr, "kernel_call: no brgemm kernel '%s'\n", argc > 1 ? argv[1] : "");
    return 2;
  }
  if (!covers(detected_isa(), kernel->needs)) {
    std::fprintf(stderr, "kernel_call: this machine cannot run %s\n", kernel->name);
    return 2;
  }
  BrgemmArgs g;
  g.k = argc > 2 ? std::atoll(argv[2]) : 64;
  g.m = argc > 4 ? std::atoi(argv[4]) : kernel->mr;
  g.n = argc > 5 ? std::atoi(argv[5]) : kernel->nr;
  EpilogueArgs e;
  const std::string out = argc > 3 ? argv[3] : name_of(kernel->a);
  for (const DType t : {DType::u8, DType::s8, DType::s32, DType::f32})
    if (out == name_of(t)) e.out = t;

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
    e.scale = e.out == DType::s32 ? nullptr : scale.data();
  }
  g.a = &tap;
  g.a_stride_bytes = ptrdiff_t(row);
  g.b = b.data() + (64 - reinterpret_cast<uintptr_t>(b.data()) % 64) % 64;
  g.c = c.data();
  g.c_stride_bytes = ptrdiff_t(columns * size_of(e.out));
  g.epi = &e;
  std::printf("%p %d %d\n", reinterpret_cast<void*>(kernel->brgemm), g.m, g.n);
  std::fflush(stdout);
  kernel->brgemm(&g);
  return 0;
}
