// Usage: kernel_call PREFIX [K [M N]] for brgemm, kernel_call PREFIX [WINDOW STRIDE PIXELS CHANNELS] for dwconv. Calls once, with
// output of its input's type, the first kernel whose name begins with PREFIX: brgemm on a whole tile (or M x N), dwconv on as many
// output rows as it takes. For a tool that traces what it executes. Prints the kernel's name, where it is in memory, and the rows
// and columns (pixels, channels) of the output.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "octavo/registry.h"

namespace {
using namespace octavo;

// Bytes from an address on that is a multiple of 64, all of them 1.
struct Ones {
  std::vector<char> memory;
  explicit Ones(size_t bytes) : memory(bytes + 64, 1) {}
  char* data() { return memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64; }
};

struct Epilogue {
  std::vector<int32_t> bias;
  std::vector<float> scale, bias_f32;
  EpilogueArgs args;
  // ReLU, all values of the type, and what a plan knows of sums of so many products with weights of 1.
  Epilogue(const KernelInfo& k, size_t columns, int64_t products)
      : bias(columns, 1), scale(columns, 0.001f), bias_f32(columns, 1.0f) {
    args.out = k.a;
    args.zp = k.a == DType::s8 ? -128 : 0;
    args.lo = 0, args.hi = 255;
    args.largest_acc = 1.0f + float(products) * (k.a == DType::s8 || k.format.a_offset ? 128.0f : 255.0f);
    args.largest_out = args.largest_acc * scale[0];
    if (k.a == DType::f32) {
      args.bias_f32 = bias_f32.data();
    } else {
      args.bias = bias.data(), args.scale = scale.data();
    }
  }
};

void print(const KernelInfo& k, void* at, int64_t rows, int64_t columns) {
  std::printf("%s %p %lld %lld\n", k.name, at, static_cast<long long>(rows), static_cast<long long>(columns));
  std::fflush(stdout);
}

void call_brgemm(const KernelInfo& k, int argc, char** argv) {
  BrgemmArgs g;
  g.k = argc > 2 ? std::atoll(argv[2]) : 64;
  g.m = argc > 4 ? std::atoi(argv[3]) : k.mr;
  g.n = argc > 4 ? std::atoi(argv[4]) : k.nr;
  const Epilogue e(k, k.nr, g.k);
  const size_t row = size_t(g.k) * size_of(k.a), element = size_of(k.a);
  Ones a(row * size_t(g.m)), b(panel_bytes(k.format, g.k)), c(size_t(g.m) * k.nr * element);
  const void* tap = a.data();
  g.a = &tap, g.a_stride_bytes = ptrdiff_t(row);
  g.b = b.data();
  g.c = c.data(), g.c_stride_bytes = ptrdiff_t(k.nr * element);
  g.epi = &e.args;
  print(k, reinterpret_cast<void*>(k.brgemm), g.m, g.n);
  k.brgemm(&g);
}

void call_dwconv(const KernelInfo& k, int argc, char** argv) {
  DwconvArgs g;
  g.kh = g.kw = argc > 2 ? std::atoi(argv[2]) : 3;
  g.stride_h = g.stride_w = argc > 3 ? std::atoi(argv[3]) : 1;
  g.n = argc > 4 ? std::atoll(argv[4]) : 8;
  g.channels = argc > 5 ? std::atoll(argv[5]) : 64;
  g.m = k.rows;
  const size_t pixel = size_t(g.channels) * size_of(k.a), row = size_t((g.n - 1) * g.stride_w + g.kw) * pixel;
  const size_t blocks = size_t(g.channels + k.nr - 1) / k.nr;
  const Epilogue e(k, size_t(g.channels), int64_t(g.kh) * g.kw);
  std::vector<const void*> rows;
  Ones a(row * size_t((g.m - 1) * g.stride_h + g.kh)), c(size_t(g.m) * size_t(g.n) * pixel),
      w(panel_bytes(k.format, dwconv_slots(k.format, g.kh, g.kw)) * blocks);
  for (int y = 0; y < (g.m - 1) * g.stride_h + g.kh; ++y) rows.push_back(a.data() + size_t(y) * row);
  g.rows = rows.data(), g.pixel_stride_bytes = ptrdiff_t(pixel);
  g.w = w.data();
  g.c = c.data(), g.c_stride_bytes = ptrdiff_t(pixel), g.c_row_stride_bytes = ptrdiff_t(pixel) * g.n;
  g.epi = &e.args;
  print(k, reinterpret_cast<void*>(k.dwconv), g.m * g.n, g.channels);
  k.dwconv(&g);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string prefix = argc > 1 ? argv[1] : "?";
  const KernelInfo* kernel = nullptr;
  for (const KernelInfo& k : kernels())
    if (!kernel && k.op != Op::grouped && std::string(k.name).starts_with(prefix)) kernel = &k;
  if (!kernel) {
    std::fprintf(stderr, "kernel_call: no brgemm or dwconv kernel begins with '%s'\n", prefix.c_str());
    return 2;
  }
  if (!covers(detected_isa(), kernel->needs)) {
    std::fprintf(stderr, "kernel_call: this machine cannot run %s\n", kernel->name);
    return 2;
  }
  kernel->op == Op::brgemm ? call_brgemm(*kernel, argc, argv) : call_dwconv(*kernel, argc, argv);
  return 0;
}
