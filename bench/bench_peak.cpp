// peak/INSTRUCTION with GMACs, peak/read/SIZE with gigabytes per second.
#include <benchmark/benchmark.h>

#include <string>

#include "bench.h"
#include "peak.h"

namespace octavo::bench {

void register_peak_benches() {
  for (const PeakLoop& loop : peak_loops()) {
    if (!covers(detected_isa(), loop.needs)) continue;
    benchmark::RegisterBenchmark(("peak/" + std::string(loop.name)).c_str(), [&loop](benchmark::State& state) {
      constexpr long kIterations = 10000;
      for (auto _ : state) loop.run(kIterations);
      state.counters["GMACs"] = benchmark::Counter(double(state.iterations()) * kIterations * loop.macs_per_iteration * 1e-9,
                                                   benchmark::Counter::kIsRate);
    });
  }
  struct Level {
    const char* name;
    size_t bytes;
  };
  for (const Level level : {Level{"l1", 16u << 10}, Level{"l2", 256u << 10}, Level{"dram", 256u << 20}})
    benchmark::RegisterBenchmark((std::string("peak/read/") + level.name).c_str(), [level](benchmark::State& state) {
      double gbytes = 0;
      for (auto _ : state) gbytes = read_gbytes(level.bytes);
      state.counters["GBps"] = gbytes;
    })->Iterations(1);
}

}  // namespace octavo::bench
