// octavo_bench [--shapes=FILE] [Google Benchmark's options]
#include <benchmark/benchmark.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "bench.h"

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
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;

  if (shapes) {
    std::FILE* f = std::fopen(shapes, "r");
    if (!f) {
      std::fprintf(stderr, "octavo_bench: %s: %s\n", shapes, std::strerror(errno));
      return 2;
    }
    std::fclose(f);
    if (!octavo::bench::register_shape_benches(shapes)) return 2;
  }
  octavo::bench::register_peak_benches();
  octavo::bench::register_ukernel_benches();
  octavo::bench::register_dwconv_benches();
  octavo::bench::register_eltwise_benches();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
