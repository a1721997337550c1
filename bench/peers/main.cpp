// octavo_peers [--json=FILE] [--threads=N] [--filter=TEXT] SHAPES...
// Each shape on Octavo and on oneDNN: results compared, then short runs in turns, so that both see the same clock and the same
// neighbours; medians. One line a shape, then the geometric mean of the ratios of each class.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "case.h"
#include "octavo/reference.h"
#include "onednn.h"
#include "peak.h"

namespace octavo::bench {
namespace {

struct Options {
  std::vector<const char*> files;
  const char* json = nullptr;
  std::string_view filter;
  int threads = 1;
};

// What makes shapes alike: the first that fits.
const char* class_of(const Shape& s) {
  const Window& w = s.window;
  if (s.matmul) return s.m == 1 ? "matmul, one row" : "matmul";
  if (!s.conv) {
    if (s.macs() < 2e6) return "gemm, tiny";
    if (s.m == 1) return "gemm, one row";
    if (s.m <= 16) return "gemm, few rows";
    if (s.k <= 16) return "gemm, K <= 16";
    if (s.m >= 16 * s.n) return "gemm, tall-skinny";
    if (s.n >= 16 * s.m) return "gemm, short-wide";
    return "gemm";
  }
  const bool point = w.kh == 1 && w.kw == 1, patches = w.stride_h == w.kh && w.stride_w == w.kw && !point;
  if (s.depthwise()) return w.stride_h > 1 || w.stride_w > 1 ? "depthwise, strided" : "depthwise";
  if (s.groups > 1 && s.groups == s.ic) return "depthwise, multiplier";
  if (w.ih == 1 && w.kh == 1 && w.kw > 1) return "conv, 1-D";
  if (s.groups > 1) return "conv, grouped";
  if (s.ic <= 4) return "conv, stem";
  if (patches) return "conv, patches";
  if (w.dilation_h > 1 || w.dilation_w > 1) return "conv, dilated";
  if (point) return w.stride_h > 1 ? "conv, 1x1 strided" : s.ic <= 32 ? "conv, 1x1 IC <= 32" : "conv, 1x1";
  if (w.stride_h > 1 || w.stride_w > 1) return "conv, strided";
  if (w.kh == 1 || w.kw == 1) return "conv, 1xN and Nx1";
  return "conv, KxK";
}

// Why the results differ by more than their rounding does: an integer step where a scaled value was rounded, nothing for raw
// sums, an error of the order of the number of terms for floats.
std::string difference(const Shape& s, const char* ours, const char* theirs) {
  using namespace reference;
  for (int64_t i = 0, count = s.rows() * s.columns(); i < count; ++i) {
    double a, b, tolerance = s.out == DType::s32 ? 0 : 1;
    if (s.out == DType::s32) {
      a = load<int32_t>(ours, i), b = load<int32_t>(theirs, i);
    } else if (s.out == DType::f32) {
      a = double(load<float>(ours, i)), b = double(load<float>(theirs, i));
      tolerance = (std::fabs(a) + std::sqrt(double(s.depth()))) * 1e-5;
    } else {
      a = load_q(ours, i, s.out), b = load_q(theirs, i, s.out);
    }
    if (std::fabs(a - b) > tolerance) {
      char text[128];
      std::snprintf(text, sizeof text, "results differ at element %lld: %g and %g", static_cast<long long>(i), a, b);
      return text;
    }
  }
  return {};
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <class Run>
double time_of(int repeats, Run run) {
  const double start = seconds();
  for (int i = 0; i < repeats; ++i) run();
  return (seconds() - start) / repeats;
}

double median(std::vector<double> v) {
  std::nth_element(v.begin(), v.begin() + ptrdiff_t(v.size() / 2), v.end());
  return v[v.size() / 2];
}

struct Result {
  const Shape* shape;
  double ours = 0, peer = 0;  // seconds
  std::string describe, peer_describe, error;
  std::string differs;  // why results are not equal: an error too, but times mean something all the same (a peer that saturates)
  double ratio() const { return peer / ours; }
};

Result measure(const Shape& s, const Parallel& parallel) {
  constexpr double kRun = 1e-3;  // long against the clock's resolution and a cold start, short against what disturbs
  constexpr int kRounds = 15;
  Result r{&s, 0, 0, {}, {}, {}, {}};
  Operands operands(s);
  OneDnnCase peer(s, operands);  // first: a residual is overwritten by a run
  Case ours(s, operands, parallel);
  r.describe = ours.describe();
  r.error = ours.error().empty() ? peer.error() : "octavo: " + ours.error();
  if (!r.error.empty()) return r;
  r.peer_describe = peer.describe();
  peer.run();
  r.differs = difference(s, operands.c.get(), peer.c.get());
  const auto run_ours = [&] { ours.run(); };
  const auto run_peer = [&] { peer.run(); };
  const auto repeats = [&](auto run) { return std::clamp(int(kRun / time_of(3, run)), 1, 10000); };
  const int n_ours = repeats(run_ours), n_peer = repeats(run_peer);
  std::vector<double> t_ours, t_peer;
  // A library's threads spin for a while after its last run, and the other one's would have to share the cores with them.
  const auto settle = [&](auto run) {
    if (parallel.threads == 1) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    run();
  };
  for (int i = 0; i < kRounds; ++i) {
    settle(run_ours);
    t_ours.push_back(time_of(n_ours, run_ours));
    settle(run_peer);
    t_peer.push_back(time_of(n_peer, run_peer));
  }
  r.ours = median(t_ours), r.peer = median(t_peer);
  return r;
}

double share(const Result& r, double time, const Options& options) {
  const Expected<Isa> isa = active_isa();
  const PeakLoop* loop = isa ? peak_loop_of(*isa, r.shape->a) : nullptr;
  return loop ? r.shape->macs() / time * 1e-9 / (peak_gmacs(*loop) * options.threads) : 0;
}

struct Mean {
  double log_sum = 0;
  int count = 0, lost = 0;
  void add(double ratio) { log_sum += std::log(ratio), ++count, lost += ratio < 1; }
  double value() const { return std::exp(log_sum / count); }
};

bool write_json(const Options& options, const std::vector<Result>& results, const std::map<std::string, Mean>& means) {
  std::FILE* f = std::fopen(options.json, "w");
  if (!f) return false;
  std::fprintf(f, "{\"peer\": \"%s\", \"threads\": %d, \"shapes\": [", onednn_version().c_str(), options.threads);
  const char* comma = "\n";
  for (const Result& r : results) {
    std::fprintf(f, "%s{\"shape\": \"%s\", \"class\": \"%s\", ", comma, r.shape->label().c_str(), class_of(*r.shape));
    if (r.error.empty()) {
      std::fprintf(f, "\"octavo_us\": %.4g, \"peer_us\": %.4g, \"ratio\": %.4f, \"octavo_peak\": %.4f, \"peer_peak\": %.4f, ",
                   r.ours * 1e6, r.peer * 1e6, r.ratio(), share(r, r.ours, options), share(r, r.peer, options));
    } else {
      std::fprintf(f, "\"error\": \"%s\", ", r.error.c_str());
    }
    std::fprintf(f, "\"differs\": \"%s\", \"octavo\": \"%s\", \"peer\": \"%s\"}", r.differs.c_str(), r.describe.c_str(),
                 r.peer_describe.c_str());
    comma = ",\n";
  }
  std::fprintf(f, "],\n\"classes\": {");
  comma = "\n";
  for (const auto& [name, mean] : means) {
    std::fprintf(f, "%s\"%s\": {\"shapes\": %d, \"ratio\": %.4f, \"lost\": %d}", comma, name.c_str(), mean.count, mean.value(),
                 mean.lost);
    comma = ",\n";
  }
  std::fprintf(f, "}}\n");
  return std::fclose(f) == 0;
}

int compare(const Options& options) {
  std::vector<Shape> shapes;
  for (const char* file : options.files)
    if (!read_shapes(file, shapes)) return 2;
  omp_set_num_threads(options.threads);
  Expected<ThreadPool> pool = ThreadPool::create(options.threads);
  if (!pool) {
    std::fprintf(stderr, "octavo_peers: %s\n", pool.status().text());
    return 1;
  }
  const Parallel parallel = options.threads == 1 ? single_thread() : pool->parallel();
  std::printf("Octavo against %s, %d thread%s; ratio: how many times as fast Octavo is\n\n", onednn_version().c_str(),
              options.threads, options.threads == 1 ? "" : "s");
  std::printf("%-44s %10s %10s %6s %7s %7s  %-22s %s\n", "shape", "octavo us", "peer us", "ratio", "octavo%", "peer%", "class",
              "implementation of the peer");
  std::vector<Result> results;
  std::map<std::string, Mean> means;
  int errors = 0;
  for (const Shape& s : shapes) {
    if (!options.filter.empty() && s.label().find(options.filter) == std::string::npos) continue;
    results.push_back(measure(s, parallel));
    const Result& r = results.back();
    if (!r.error.empty()) {
      std::printf("%-44s error: %s\n", s.label().c_str(), r.error.c_str());
      ++errors;
      continue;
    }
    means[class_of(s)].add(r.ratio());
    means["all"].add(r.ratio());
    errors += !r.differs.empty();
    std::printf("%-44s %10.2f %10.2f %6.2f %7.1f %7.1f  %-22s %s %s\n", s.label().c_str(), r.ours * 1e6, r.peer * 1e6, r.ratio(),
                100 * share(r, r.ours, options), 100 * share(r, r.peer, options), class_of(s), r.peer_describe.c_str(),
                r.differs.c_str());
    std::fflush(stdout);
  }
  std::printf("\n%-24s %6s %6s %6s\n", "class", "shapes", "ratio", "lost");
  for (const auto& [name, mean] : means) std::printf("%-24s %6d %6.2f %6d\n", name.c_str(), mean.count, mean.value(), mean.lost);
  if (options.json && !write_json(options, results, means)) {
    std::fprintf(stderr, "octavo_peers: %s cannot be written\n", options.json);
    return 1;
  }
  return errors ? 1 : 0;
}

}  // namespace
}  // namespace octavo::bench

int main(int argc, char** argv) {
  octavo::bench::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view arg = argv[i];
    if (arg.starts_with("--json=")) {
      options.json = argv[i] + 7;
    } else if (arg.starts_with("--filter=")) {
      options.filter = arg.substr(9);
    } else if (arg.starts_with("--threads=")) {
      options.threads = std::atoi(argv[i] + 10);
    } else if (!arg.starts_with("--")) {
      options.files.push_back(argv[i]);
    } else {
      options.files.clear();
      break;
    }
  }
  if (options.files.empty() || options.threads < 1) {
    std::fputs(
        "usage: octavo_peers [--json=FILE] [--threads=N] [--filter=TEXT] SHAPES...\n"
        "Octavo and oneDNN in turns on each shape (see octavo_bench --help). OCTAVO_ISA=avx2 and ONEDNN_MAX_CPU_ISA=AVX2\n"
        "in the environment force instruction sets.\n",
        stderr);
    return 2;
  }
  return octavo::bench::compare(options);
}
