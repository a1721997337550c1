// ukernel/NAME/b<batch>k<k>[m<m>]:OUT for every brgemm row of the registry, on operands that stay in the nearest cache.
#include <benchmark/benchmark.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "bench.h"
#include "octavo/registry.h"
#include "time_kernel.h"

namespace octavo::bench {
namespace {

struct Shape {
  int64_t batch, k;
  int m;  // 0: mr
  DType out;
};

// One call of a kernel with its operands, and a check of what it wrote.
class Call {
 public:
  Call(const KernelInfo& kernel, const Shape& s) : kernel_(kernel), batch_(s.batch), k_(s.k), m_(s.m ? s.m : kernel.mr) {
    const int n = kernel.nr;
    const size_t panel = panel_bytes(kernel.format, k_);
    // Not a power of two: rows 4096 bytes apart share a set of the nearest cache.
    const int64_t row = k_ * int64_t(size_of(kernel.a)) + 64;
    a_.resize(size_t(batch_ * m_ * row));
    b_.reset(static_cast<char*>(std::aligned_alloc(64, (panel * size_t(batch_) + 63) / 64 * 64)));
    std::memset(b_.get(), 0, panel * size_t(batch_));
    for (int64_t i = 0; i < batch_ * m_ * k_; ++i)
      put(&a_[size_t(i / k_ * row + i % k_ * int64_t(size_of(kernel.a)))], a_at(i), kernel.a);
    for (int64_t t = 0; t < batch_; ++t)
      for (int64_t p = 0; p < k_; ++p)
        for (int j = 0; j < n; ++j) {
          const PackFormat& f = kernel.format;
          const int64_t at = (p / f.kr * n + j) * f.kr + p % f.kr;
          put(b_.get() + t * int64_t(panel) + at * f.elem_bytes, b_at(t, p, j),
              f.elem_bytes == 4   ? DType::f32
              : f.elem_bytes == 2 ? DType::s16
                                  : DType::s8);
        }
    for (int64_t t = 0; t < batch_; ++t) taps_.push_back(&a_[size_t(t * m_ * row)]);
    bias_.assign(size_t(n), 3);
    for (int j = 0; j < n; ++j)
      for (int64_t t = 0; t < batch_; ++t)
        for (int64_t p = 0; p < k_; ++p) bias_[size_t(j)] -= kernel.format.a_offset * b_at(t, p, j);
    scale_.assign(size_t(n), 0.0078125f);
    c_.resize(size_t(m_ * n) * size_of(s.out));
    epi_.bias = kernel.a == DType::f32 ? nullptr : bias_.data();
    epi_.scale = kernel.a == DType::f32 || s.out == DType::s32 ? nullptr : scale_.data();
    epi_.out = s.out;
    epi_.zp = s.out == DType::u8 ? 7 : 0;
    epi_.lo = s.out == DType::u8 ? 0 : -INFINITY;
    epi_.hi = s.out == DType::u8 ? 255 - 7 : INFINITY;
    g_.a = taps_.data();
    g_.a_stride_bytes = row;
    g_.b = b_.get();
    g_.batch = batch_;
    g_.k = k_;
    g_.m = m_;
    g_.n = n;
    g_.c = c_.data();
    g_.c_stride_bytes = n * int64_t(size_of(s.out));
    g_.epi = &epi_;
  }

  void operator()() const { kernel_.brgemm(&g_); }
  double macs() const { return double(batch_ * k_ * m_) * kernel_.nr; }

  // The operands are small integers, so that floats are exact too.
  bool right() const {
    for (int i = 0; i < m_; ++i)
      for (int j = 0; j < kernel_.nr; ++j) {
        int64_t sum = kernel_.a == DType::f32 ? 0 : 3;
        for (int64_t t = 0; t < batch_; ++t)
          for (int64_t p = 0; p < k_; ++p) sum += a_at((t * m_ + i) * k_ + p) * b_at(t, p, j);
        const char* c = &c_[size_t(i * kernel_.nr + j) * size_of(epi_.out)];
        if (epi_.out == DType::u8) {
          const float v = float(sum) * scale_[size_t(j)];
          if (uint8_t(*c) != uint8_t(int(std::nearbyint(std::fmin(std::fmax(v, epi_.lo), epi_.hi))) + epi_.zp)) return false;
        } else {
          char expected[4];
          put(expected, sum, epi_.out);
          if (std::memcmp(c, expected, 4) != 0) return false;
        }
      }
    return true;
  }

 private:
  static int64_t a_at(int64_t i) { return i * 7 % 19; }
  static int64_t b_at(int64_t t, int64_t p, int64_t j) { return (t + p * 5 + j * 3) % 11 - 5; }
  static void put(char* p, int64_t v, DType type) {
    const auto copy = [p](auto x) { std::memcpy(p, &x, sizeof x); };
    switch (type) {
      case DType::f32:
        return copy(float(v));
      case DType::s32:
        return copy(int32_t(v));
      case DType::s16:
        return copy(int16_t(v));
      default:
        return copy(int8_t(v));
    }
  }
  struct Free {
    void operator()(char* p) const { std::free(p); }
  };

  const KernelInfo& kernel_;
  int64_t batch_, k_;
  int m_;
  std::vector<char> a_, c_;
  std::unique_ptr<char[], Free> b_;
  std::vector<const void*> taps_;
  std::vector<int32_t> bias_;
  std::vector<float> scale_;
  EpilogueArgs epi_;
  BrgemmArgs g_;
};

void run(benchmark::State& state, const KernelInfo& kernel, const Shape& shape) { time_kernel(state, kernel, Call(kernel, shape)); }

}  // namespace

void register_ukernel_benches() {
  for (const KernelInfo& kernel : kernels()) {
    if (kernel.op != Op::brgemm || !covers(detected_isa(), kernel.needs)) continue;
    std::vector<Shape> shapes;
    const bool is_float = kernel.a == DType::f32;
    for (int64_t k : {64, 256, 1024})
      for (DType out : {DType::s32, DType::u8}) {
        if (is_float && out == DType::u8) continue;
        shapes.push_back({1, k, 0, is_float ? DType::f32 : out});
      }
    shapes.push_back({9, 64, 0, is_float ? DType::f32 : DType::u8});
    shapes.push_back({7, 21, 0, is_float ? DType::f32 : DType::u8});
    for (int m : {1, 2, 4})
      if (m < kernel.mr) shapes.push_back({1, 256, m, is_float ? DType::f32 : DType::s32});
    for (const Shape& s : shapes) {
      char name[128], m[8] = "";
      if (s.m) std::snprintf(m, sizeof m, "m%d", s.m);
      std::snprintf(name, sizeof name, "ukernel/%s/b%dk%d%s:%s", kernel.name, int(s.batch), int(s.k), m, name_of(s.out));
      benchmark::RegisterBenchmark(name, run, std::cref(kernel), s);
    }
  }
}

}  // namespace octavo::bench
