// gemm/NAME:DST and conv/NAME:DST for each line of a shapes file: whole plans with prepacked weights on one thread.
#include <benchmark/benchmark.h>

#include <functional>
#include <memory>
#include <vector>

#include "bench.h"
#include "case.h"
#include "peak.h"

namespace octavo::bench {
namespace {

struct Ready {
  Operands operands;
  Case plan;
  explicit Ready(const Shape& s) : operands(s), plan(s, operands) {}
};

void run(benchmark::State& state, const Shape& shape) {
  // Google Benchmark calls this several times for each benchmark: the last case is kept.
  static std::unique_ptr<Ready> last;
  static const Shape* shape_of_last = nullptr;
  if (shape_of_last != &shape) {
    last.reset();
    last = std::make_unique<Ready>(shape);
    shape_of_last = &shape;
  }
  if (!last->plan.error().empty()) return state.SkipWithError(last->plan.error().c_str());
  for (auto _ : state) {
    last->plan.run();
    benchmark::ClobberMemory();
  }
  const double gmacs = shape.macs() * double(state.iterations()) * 1e-9;
  state.counters["GMACs"] = benchmark::Counter(gmacs, benchmark::Counter::kIsRate);
  const Expected<Isa> isa = active_isa();
  if (const PeakLoop* loop = isa ? peak_loop_of(*isa, shape.a) : nullptr)
    state.counters["peak"] = benchmark::Counter(gmacs / peak_gmacs(*loop), benchmark::Counter::kIsRate);
  state.SetLabel(last->plan.describe());
}

}  // namespace

bool register_shape_benches(const char* file) {
  static std::vector<Shape> shapes;
  if (!read_shapes(file, shapes)) return false;
  for (const Shape& s : shapes) benchmark::RegisterBenchmark(s.label().c_str(), run, std::cref(s));
  return true;
}

}  // namespace octavo::bench
