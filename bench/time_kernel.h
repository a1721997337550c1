// One microkernel by itself, called over and over on the same operands.
#pragma once

#include <benchmark/benchmark.h>

#include "octavo/registry.h"
#include "peak.h"

namespace octavo::bench {

// Call: operator() runs the kernel once; right() checks what it wrote; macs() counts its products, unpadded.
template <class Call>
void time_kernel(benchmark::State& state, const KernelInfo& kernel, const Call& call) {
  call();
  if (!call.right()) return state.SkipWithError("wrong result");
  for (auto _ : state) {
    call();
    benchmark::ClobberMemory();
  }
  const double gmacs = call.macs() * double(state.iterations()) * 1e-9;
  state.counters["GMACs"] = benchmark::Counter(gmacs, benchmark::Counter::kIsRate);
  if (const PeakLoop* loop = peak_loop_of(kernel))
    state.counters["peak"] = benchmark::Counter(gmacs / peak_gmacs(*loop), benchmark::Counter::kIsRate);
}

}  // namespace octavo::bench
