// gemm/NAME:DST, conv/NAME:DST and matmul/NAME:DST for each line of a shapes file: whole plans with prepacked weights on one
// thread. create/...: what making the plan takes, in bytes of weights a second.
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

// Google Benchmark calls a benchmark several times: the last case is kept.
Case& case_of(const Shape& shape) {
  static std::unique_ptr<Ready> last;
  static const Shape* shape_of_last = nullptr;
  if (shape_of_last != &shape) {
    last.reset();
    last = std::make_unique<Ready>(shape);
    shape_of_last = &shape;
  }
  return last->plan;
}

void run(benchmark::State& state, const Shape& shape) {
  Case& plan = case_of(shape);
  if (!plan.error().empty()) return state.SkipWithError(plan.error().c_str());
  for (auto _ : state) {
    plan.run();
    benchmark::ClobberMemory();
  }
  const double gmacs = shape.macs() * double(state.iterations()) * 1e-9;
  state.counters["GMACs"] = benchmark::Counter(gmacs, benchmark::Counter::kIsRate);
  const Expected<Isa> isa = active_isa();
  if (const PeakLoop* loop = isa ? peak_loop_of(*isa, shape.a) : nullptr)
    state.counters["peak"] = benchmark::Counter(gmacs / peak_gmacs(*loop), benchmark::Counter::kIsRate);
  state.SetLabel(plan.describe());
}

void create(benchmark::State& state, const Shape& shape) {
  Case& plan = case_of(shape);
  if (!plan.error().empty()) return state.SkipWithError(plan.error().c_str());
  for (auto _ : state) plan.create();
  state.SetBytesProcessed(state.iterations() * shape.weights() * int64_t(size_of(shape.weight())));
}

}  // namespace

bool register_shape_benches(const char* file) {
  static std::vector<Shape> shapes;
  if (!read_shapes(file, shapes)) return false;
  for (const Shape& s : shapes) benchmark::RegisterBenchmark(s.label().c_str(), run, std::cref(s));
  for (const Shape& s : shapes)
    if (!s.matmul) benchmark::RegisterBenchmark(("create/" + s.label()).c_str(), create, std::cref(s));
  return true;
}

}  // namespace octavo::bench
