// ukernel/<name>/...: every winograd row of the registry on an image of its own, u8 output. The share of peak counts the products
// of a direct convolution, of which these kernels need a fourth.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <vector>

#include "aligned.h"
#include "bench.h"
#include "octavo/registry.h"
#include "time_kernel.h"

namespace octavo::bench {
namespace {

struct Image {
  int32_t size;
  int64_t k, n;
};

class Call {
 public:
  Call(const KernelInfo& kernel, const Image& s)
      : kernel_(kernel), s_(s), across_((s.size + 3) / 4), cols_(4 * across_ + 2) {
    const PackFormat& f = kernel.format;
    const size_t place = panel_bytes(f, s.k), panel = kWinogradPlaces * place;
    a_ = aligned(size_t(cols_ * cols_ * s.k));
    tap_ = a_.get();
    for (int64_t i = 0; i < cols_ * cols_ * s.k; ++i) a_[size_t(i)] = char(pixel(i));
    b_ = aligned(panel * size_t((s.n + f.nr - 1) / f.nr));
    workspace_ = aligned(WinogradSpace(f, 1, s.k, across_ * across_, across_).bytes);
    c_ = aligned(size_t(s.size * s.size * s.n));
    bias_.assign(size_t(s.n), 100);
    scale_.assign(size_t(s.n), 1.0f / 64);
    for (int64_t j = 0; j < s.n; ++j)
      for (int64_t p = 0; p < s.k; ++p) {
        for (int x = 0; x < kWinogradPlaces; ++x) {
          int16_t u = 0;
          for (int i = 0; i < 9; ++i) u = int16_t(u + kWinogradG[x / 6][i / 3] * weight(j, p, i) * kWinogradG[x % 6][i % 3]);
          const int64_t at = (p / f.kr * f.nr + j % f.nr) * f.kr + p % f.kr;
          std::memcpy(b_.get() + size_t(j / f.nr) * panel + size_t(x) * place + size_t(at) * sizeof u, &u, sizeof u);
        }
        for (int i = 0; i < 9; ++i) bias_[size_t(j)] -= f.a_offset * weight(j, p, i);
      }
    epi_.bias = bias_.data(), epi_.scale = scale_.data();
    epi_.out = DType::u8, epi_.zp = 7, epi_.lo = -7, epi_.hi = 248;
    g_.a = &tap_, g_.a_pixel_stride_bytes = s.k, g_.a_row_stride_bytes = cols_ * s.k;
    g_.b = b_.get(), g_.b_panel_stride = ptrdiff_t(panel);
    g_.k = s.k, g_.n = s.n, g_.h = g_.w = s.size, g_.tiles = across_ * across_;
    g_.c = c_.get(), g_.c_pixel_stride_bytes = s.n, g_.c_row_stride_bytes = s.size * s.n;
    g_.workspace = workspace_.get(), g_.epi = &epi_;
  }
  void operator()() const { kernel_.winograd(&g_); }
  double macs() const { return 9.0 * double(s_.size * s_.size * s_.k * s_.n); }

  // Some pixels of all columns.
  bool right() const {
    for (const int64_t at : {int64_t(0), int64_t(s_.size) + 3, int64_t(s_.size) * s_.size - 1})
      for (int64_t j = 0; j < s_.n; ++j) {
        int acc = 100;
        for (int i = 0; i < 9; ++i)
          for (int64_t p = 0; p < s_.k; ++p)
            acc += pixel(((at / s_.size + i / 3) * cols_ + at % s_.size + i % 3) * s_.k + p) * weight(j, p, i);
        const int want = int(std::nearbyint(std::clamp(float(acc) * scale_[0], epi_.lo, epi_.hi))) + epi_.zp;
        if (int(uint8_t(c_[size_t(at * s_.n + j)])) != want) return false;
      }
    return true;
  }

 private:
  static int pixel(int64_t i) { return int(i * 7 % 101); }
  static int weight(int64_t j, int64_t p, int i) { return int((j * 5 + p * 11 + i * 3) % 23) - 11; }

  const KernelInfo& kernel_;
  Image s_;
  int64_t across_, cols_;  // tiles of a row; pixels that they see
  AlignedBuffer a_, b_, c_, workspace_;
  const void* tap_ = nullptr;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  EpilogueArgs epi_;
  WinogradArgs g_;
};

void run(benchmark::State& state, const KernelInfo& kernel, const Image& image) {
  time_kernel(state, kernel, Call(kernel, image));
}

}  // namespace

void register_winograd_benches() {
  constexpr Image kImages[] = {{16, 16, 16}, {16, 64, 64}, {16, 128, 64}, {14, 256, 64}};
  for (const KernelInfo& kernel : kernels()) {
    if (kernel.op != Op::winograd || !covers(detected_isa(), kernel.needs)) continue;
    for (const Image& s : kImages) {
      char name[128];
      std::snprintf(name, sizeof name, "ukernel/%s/%dx%d_c%dx%d", kernel.name, s.size, s.size, int(s.k), int(s.n));
      benchmark::RegisterBenchmark(name, run, std::cref(kernel), s);
    }
  }
}

}  // namespace octavo::bench
