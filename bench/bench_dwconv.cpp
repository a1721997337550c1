// ukernel/<name>/...: every depthwise row of the registry on as many rows of output pixels as it takes (at most 4),
// u8 (float: f32) output.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "aligned.h"
#include "bench.h"
#include "octavo/registry.h"
#include "time_kernel.h"

namespace octavo::bench {
namespace {

struct Window {
  int size, stride;
  int64_t channels, n;
};

class Call {
 public:
  Call(const KernelInfo& kernel, const Window& s)
      : kernel_(kernel), s_(s), m_(std::min<int64_t>(kernel.rows, 4)), element_(size_of(kernel.a)) {
    const int64_t taps = int64_t(s.size) * s.size, span = (s.n - 1) * s.stride + s.size;
    const int64_t in_rows = (m_ - 1) * s.stride + s.size;
    const PackFormat& f = kernel.format;
    const size_t pixels = size_t(in_rows * span * s.channels);
    a_ = aligned(pixels * element_);
    for (size_t i = 0; i < pixels; ++i) put(a_.get() + i * element_, kernel.a, pixel(i));
    const size_t block = panel_bytes(f, dwconv_slots(f, s.size, s.size)), bytes = block * size_t((s.channels + f.nr - 1) / f.nr);
    w_ = aligned(bytes);
    bias_.assign(size_t(s.channels), 100);
    for (int64_t c = 0; c < s.channels; ++c)
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t slot = slot_of(f, s.size, s.size, t / s.size, t % s.size);
        const int64_t at = (slot / f.kr * f.nr + column_of(f, int(c % f.nr))) * f.kr + slot % f.kr;
        put(w_.get() + size_t(c / f.nr) * block + size_t(at) * f.elem_bytes, f.elem_bytes == 2 ? DType::s16 : kernel.b,
            weight(c, t));
        bias_[size_t(c)] -= f.a_offset * weight(c, t);
      }
    for (int64_t y = 0; y < in_rows; ++y) rows_.push_back(a_.get() + size_t(y * span * s.channels) * element_);
    scale_.assign(size_t(s.channels), 0.25f);
    c_ = aligned(size_t(m_ * s.n * s.channels) * element_);
    const bool real = kernel.a == DType::f32;
    epi_.bias = real ? nullptr : bias_.data();
    epi_.scale = real ? nullptr : scale_.data();
    epi_.out = real ? DType::f32 : DType::u8;
    epi_.lo = real ? -1e30f : -7;
    epi_.hi = real ? 1e30f : 248;
    epi_.zp = real ? 0 : 7;
    g_.rows = rows_.data();
    g_.pixel_stride_bytes = ptrdiff_t(s.channels) * ptrdiff_t(element_);
    g_.kh = g_.kw = s.size, g_.stride_h = g_.stride_w = s.stride;
    g_.m = int32_t(m_), g_.n = s.n, g_.channels = s.channels;
    g_.w = w_.get(), g_.c = c_.get(), g_.c_stride_bytes = g_.pixel_stride_bytes, g_.epi = &epi_;
    g_.c_row_stride_bytes = s.n * g_.c_stride_bytes;
  }
  void operator()() const { kernel_.dwconv(&g_); }
  double macs() const { return double(m_ * s_.n * s_.channels * s_.size * s_.size); }

  bool right() const {
    const int64_t span = (s_.n - 1) * s_.stride + s_.size;
    for (int64_t i : {int64_t(0), s_.n - 1, m_ * s_.n - 1})
      for (int64_t c = 0; c < s_.channels; ++c) {
        int acc = 0;
        for (int y = 0; y < s_.size; ++y)
          for (int z = 0; z < s_.size; ++z)
            acc += pixel(size_t(((i / s_.n * s_.stride + y) * span + i % s_.n * s_.stride + z) * s_.channels + c)) *
                   weight(c, int64_t(y) * s_.size + z);
        char want[4];
        if (kernel_.a == DType::f32) {
          put(want, DType::f32, acc);  // small integers: any order of summation is exact
        } else {
          want[0] = char(int(std::nearbyint(std::fmin(std::fmax(float(acc + 100) * 0.25f, -7.0f), 248.0f))) + 7);
        }
        if (std::memcmp(want, c_.get() + size_t(i * s_.channels + c) * element_, element_) != 0) return false;
      }
    return true;
  }

 private:
  static int pixel(size_t i) { return int(i * 7 % 101); }
  static int weight(int64_t c, int64_t t) { return int((c * 5 + t * 3) % 23) - 11; }
  static void put(char* p, DType type, int v) {
    const float f = float(v);
    const int16_t h = int16_t(v);
    type == DType::f32 ? std::memcpy(p, &f, 4) : type == DType::s16 ? std::memcpy(p, &h, 2) : std::memcpy(p, &v, 1);
  }

  const KernelInfo& kernel_;
  Window s_;
  int64_t m_;
  size_t element_;
  AlignedBuffer a_, w_, c_;
  std::vector<const void*> rows_;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  EpilogueArgs epi_;
  DwconvArgs g_;
};

void run(benchmark::State& state, const KernelInfo& kernel, const Window& window) {
  time_kernel(state, kernel, Call(kernel, window));
}

}  // namespace

void register_dwconv_benches() {
  constexpr Window kWindows[] = {{3, 1, 64, 56}, {3, 1, 144, 56}, {3, 1, 960, 7}, {3, 2, 144, 28}, {5, 1, 64, 28}};
  for (const KernelInfo& kernel : kernels()) {
    if (kernel.op != Op::dwconv || !covers(detected_isa(), kernel.needs)) continue;
    for (const Window& w : kWindows) {
      char name[128];
      std::snprintf(name, sizeof name, "ukernel/%s/%dx%ds%d_c%dx%d", kernel.name, w.size, w.size, w.stride, int(w.channels),
                    int(w.n));
      benchmark::RegisterBenchmark(name, run, std::cref(kernel), w);
    }
  }
}

}  // namespace octavo::bench
