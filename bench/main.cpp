// octavo_bench [--shapes=FILE] [Google Benchmark's options]
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string_view>

#include "bench.h"

namespace {

void print_help() {
  std::puts("octavo_bench [--shapes=FILE] [Google Benchmark's options]\n"
            "  ukernel/NAME/..., eltwise/TABLE/...     every kernel by itself; peak/... what the machine can do\n"
            "  --shapes=FILE                          whole plans too, one a line: gemm NAME M N K DST, or\n"
            "                                         conv NAME N IC IH IW OC KH KW SH SW PH PW DH DW G DST, or\n"
            "                                         matmul NAME B M N K kn|nk DST, both operands at run time\n"
            "                                         (DST: s32 f32 u8 s8 = int8 kernels, fp32 = float; s8-DST: s8\n"
            "                                         activations; DST+add: with a residual)\n"
            "  counter GMACs: 1e9 multiply-accumulates a second; peak: share of what this process measures\n");
  benchmark::PrintDefaultHelp();
}

}  // namespace

int main(int argc, char** argv) {
  constexpr std::string_view kShapes = "--shapes=";
  const char* shapes = nullptr;
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]).starts_with(kShapes)) {
      shapes = argv[i] + kShapes.size();
    } else {
      argv[kept++] = argv[i];
    }
  }
  argv[argc = kept] = nullptr;
  benchmark::Initialize(&argc, argv, print_help);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;

  if (shapes && !octavo::bench::register_shape_benches(shapes)) return 2;
  octavo::bench::register_peak_benches();
  octavo::bench::register_ukernel_benches();
  octavo::bench::register_dwconv_benches();
  octavo::bench::register_winograd_benches();
  octavo::bench::register_eltwise_benches();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
