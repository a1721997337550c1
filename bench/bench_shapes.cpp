// gemm/NAME:DST and conv/NAME:DST for each line of a file: whole plans with prepacked weights, per-channel scales, zero point 7,
// bias and ReLU, on one thread. The file's first line documents its format.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "bench.h"
#include "octavo/reference.h"
#include "peak.h"

namespace octavo::bench {
namespace {

struct Shape {
  bool conv = false;
  std::string name;
  int64_t m = 0, n = 0, k = 0;                    // gemm
  int64_t batch = 0, ic = 0, oc = 0, groups = 1;  // conv
  Window window;
  DType a = DType::u8, out = DType::u8;
};

// xorshift: contents matter little, but all-zero operands would hide errors.
struct Noise {
  uint64_t state = 0x9e3779b97f4a7c15u;
  uint32_t next() {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return uint32_t(state >> 32);
  }
  void fill(std::vector<char>& v, DType t) {
    if (t != DType::f32) {
      for (char& c : v) c = char(next());
      return;
    }
    for (size_t i = 0; i + 4 <= v.size(); i += 4) {
      const float f = float(int32_t(next())) * 0x1p-31f;
      std::memcpy(&v[i], &f, 4);
    }
  }
};

// A plan with its operands. Making one checks its result.
class Case {
 public:
  explicit Case(const Shape& s) : shape_(s) {
    const int64_t columns = s.conv ? s.oc : s.n, depth = s.conv ? s.ic / s.groups * s.window.kh * s.window.kw : s.k;
    const DType w = s.a == DType::f32 ? DType::f32 : DType::s8;
    Noise noise;
    a_.resize(size_t(s.conv ? s.batch * s.window.ih * s.window.iw * s.ic : s.m * s.k) * size_of(s.a));
    w_.resize(size_t(columns * depth) * size_of(w));
    rows_ = s.conv ? s.batch * s.window.oh() * s.window.ow() : s.m;
    c_.resize(size_t(rows_ * columns) * size_of(s.out));
    noise.fill(a_, s.a);
    noise.fill(w_, w);
    for (int64_t j = 0; j < columns; ++j) {
      scales_.push_back(0.001f + float(noise.next() % 1000) * 1e-5f);
      bias_.push_back(float(int32_t(noise.next() % 2001) - 1000) * 1e-3f);
    }
    Numerics n;
    n.a = {0.02f, s.a == DType::f32 ? 0 : 7};
    n.w_scale = scales_.data();
    n.w_scale_count = columns;
    n.bias_f32 = bias_.data();
    n.out = s.out;
    n.out_q = {0.02f * 0.005f * 100 * std::sqrt(float(depth)), 7};
    n.lo = 0;
    s.conv ? make_conv(n) : make_gemm(n, columns);
    if (error_.empty()) check(columns);
  }

  const std::string& error() const { return error_; }
  void run() {
    if (gemm_) (void)gemm_->run(gemm_args_, nullptr, single_thread());
    if (conv_) (void)conv_->run(conv_args_, workspace_, single_thread());
    if (depthwise_) (void)depthwise_->run(conv_args_, workspace_, single_thread());
  }
  double macs() const {
    return gemm_ ? double(shape_.m) * double(shape_.n) * double(shape_.k)
                 : double(shape_.batch) * double(conv_ ? conv_->macs() : depthwise_->macs());
  }
  std::string describe() const { return gemm_ ? gemm_->describe() : conv_ ? conv_->describe() : depthwise_->describe(); }

 private:
  void make_gemm(const Numerics& n, int64_t columns) {
    gemm_desc_.n = shape_.n, gemm_desc_.k = shape_.k, gemm_desc_.a = shape_.a, gemm_desc_.b = w_.data();
    gemm_desc_.b_row_stride = shape_.n, gemm_desc_.b_col_stride = 1, gemm_desc_.numerics = n;
    keep(GemmPlan::create(gemm_desc_), gemm_);
    gemm_args_.m = shape_.m, gemm_args_.a = a_.data(), gemm_args_.a_stride_bytes = shape_.k * int64_t(size_of(shape_.a));
    gemm_args_.c = c_.data(), gemm_args_.c_stride_bytes = columns * int64_t(size_of(shape_.out));
  }
  void make_conv(const Numerics& n) {
    conv_desc_.window = shape_.window, conv_desc_.ic = shape_.ic, conv_desc_.oc = shape_.oc, conv_desc_.groups = shape_.groups;
    conv_desc_.a = shape_.a, conv_desc_.w = w_.data(), conv_desc_.numerics = n;
    if (shape_.groups == shape_.ic && shape_.ic == shape_.oc && shape_.ic > 1) {
      keep(DepthwisePlan::create(conv_desc_), depthwise_);
    } else {
      keep(ConvPlan::create(conv_desc_), conv_);
    }
    const size_t bytes = conv_ ? conv_->workspace_bytes() : depthwise_ ? depthwise_->workspace_bytes() : 0;
    memory_.resize(bytes + 64);
    workspace_ = memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64);
    conv_args_.batch = shape_.batch, conv_args_.a = a_.data(), conv_args_.c = c_.data();
  }
  template <class Plan>
  void keep(Expected<Plan> plan, std::optional<Plan>& to) {
    if (plan) {
      to = *plan;
    } else {
      error_ = plan.status().text();
    }
  }
  // Compares up to 4000 elements, spread evenly, with the reference.
  void check(int64_t columns) {
    run();
    std::vector<char> expected(c_.size());
    GemmArgs g = gemm_args_;
    ConvArgs v = conv_args_;
    g.c = v.c = expected.data();
    const int64_t count = rows_ * columns, step = count / 4000 + 1, bytes = int64_t(size_of(shape_.out));
    for (int64_t e = 0; e < count; e += step) {
      const int64_t row = e / columns, column = e % columns, oh = shape_.window.oh(), ow = shape_.window.ow();
      if (gemm_) {
        reference::gemm_element(gemm_desc_, g, row, column);
      } else {
        reference::conv_element(conv_desc_, v, row / (oh * ow), row / ow % oh, row % ow, column);
      }
      if (std::memcmp(&c_[size_t(e * bytes)], &expected[size_t(e * bytes)], size_t(bytes)) == 0) continue;
      error_ = "wrong result at row " + std::to_string(row) + ", column " + std::to_string(column);
      return;
    }
  }

  const Shape& shape_;
  std::vector<char> a_, w_, c_, memory_;
  std::vector<float> scales_, bias_;
  int64_t rows_ = 0;
  GemmDesc gemm_desc_;
  ConvDesc conv_desc_;
  GemmArgs gemm_args_;
  ConvArgs conv_args_;
  void* workspace_ = nullptr;
  std::optional<GemmPlan> gemm_;
  std::optional<ConvPlan> conv_;
  std::optional<DepthwisePlan> depthwise_;
  std::string error_;
};

void run(benchmark::State& state, const Shape& shape) {
  // Google Benchmark calls this several times for each benchmark: the last case is kept.
  static std::unique_ptr<Case> last;
  static const Shape* shape_of_last = nullptr;
  if (shape_of_last != &shape) {
    last.reset();
    last = std::make_unique<Case>(shape);
    shape_of_last = &shape;
  }
  if (!last->error().empty()) return state.SkipWithError(last->error().c_str());
  for (auto _ : state) {
    last->run();
    benchmark::ClobberMemory();
  }
  const double gmacs = last->macs() * double(state.iterations()) * 1e-9;
  state.counters["GMACs"] = benchmark::Counter(gmacs, benchmark::Counter::kIsRate);
  const Expected<Isa> isa = active_isa();
  if (const PeakLoop* loop = isa ? peak_loop_of(*isa, shape.a) : nullptr)
    state.counters["peak"] = benchmark::Counter(gmacs / peak_gmacs(*loop), benchmark::Counter::kIsRate);
  state.SetLabel(last->describe());
}

// One line of the file, or why it is none.
std::optional<std::string> parse(const std::string& line, Shape& s) {
  std::istringstream in(line);
  std::string kind, word;
  in >> kind >> s.name;
  if (kind != "gemm" && kind != "conv") return "'" + kind + "' is neither gemm nor conv";
  s.conv = kind == "conv";
  std::vector<std::string> words;
  while (in >> word) words.push_back(word);
  const size_t dims = s.conv ? 14 : 3;
  if (words.size() != dims + 1)
    return kind + " takes a name, " + std::to_string(dims) + " dimensions and a type: there are " + std::to_string(words.size()) +
           " words after the name";
  std::vector<int64_t> d;
  for (size_t i = 0; i < dims; ++i) {
    char* end = nullptr;
    const long long v = std::strtoll(words[i].c_str(), &end, 10);
    if (words[i].empty() || *end || v < 0 || v > 1'000'000'000) return "'" + words[i] + "' is no dimension";
    d.push_back(v);
  }
  const std::string& dst = words.back();
  const DType types[] = {DType::u8, DType::s32, DType::f32};
  const DType* found = std::find_if(types, types + 3, [&](DType t) { return dst == name_of(t); });
  if (found != types + 3) {
    s.out = *found;
  } else if (dst == "fp32") {
    s.a = s.out = DType::f32;
  } else {
    return "'" + dst + "' is none of u8, s32, f32, fp32";
  }
  if (!s.conv) {
    s.m = d[0], s.n = d[1], s.k = d[2];
    if (s.m < 1 || s.n < 1 || s.k < 1) return "M, N and K must be at least 1";
    return {};
  }
  s.batch = d[0], s.ic = d[1], s.oc = d[4], s.groups = d[13];
  s.window = {d[2], d[3], d[5], d[6], d[7], d[8], d[11], d[12], d[9], d[10], d[9], d[10]};
  const Window& w = s.window;
  for (int64_t v : {s.batch, s.ic, s.oc, s.groups, w.ih, w.iw, w.kh, w.kw, w.stride_h, w.stride_w, w.dilation_h, w.dilation_w})
    if (v < 1) return "a dimension other than padding is 0";
  if (s.ic % s.groups || s.oc % s.groups) return "G does not divide IC and OC";
  if (w.dilation_h * (w.kh - 1) >= w.ih + 2 * w.pad_top || w.dilation_w * (w.kw - 1) >= w.iw + 2 * w.pad_left)
    return "the kernel is larger than the padded input";
  return {};
}

}  // namespace

bool register_shape_benches(const char* file) {
  static std::vector<std::unique_ptr<Shape>> shapes;
  std::ifstream in(file);
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    auto shape = std::make_unique<Shape>();
    if (const std::optional<std::string> error = parse(line, *shape)) {
      std::fprintf(stderr, "octavo_bench: %s:%d: %s\n", file, number, error->c_str());
      return false;
    }
    const std::string name = std::string(shape->conv ? "conv/" : "gemm/") + shape->name + ":" +
                             (shape->a == DType::f32 ? "fp32" : name_of(shape->out));
    benchmark::RegisterBenchmark(name.c_str(), run, std::cref(*shape));
    shapes.push_back(std::move(shape));
  }
  if (!in.eof() || shapes.empty()) {
    std::fprintf(stderr, "octavo_bench: %s: %s\n", file, shapes.empty() ? "no shapes in it" : "cannot be read to its end");
    return false;
  }
  return true;
}

}  // namespace octavo::bench
