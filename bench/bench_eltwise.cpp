// eltwise/<table>/<routine>: bytes read and written per second on data that fits the second-level cache.
// eltwise/memcpy is the limit.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "bench.h"
#include "octavo/eltwise.h"

namespace octavo::bench {
namespace {

constexpr size_t kSize = 1 << 15;  // elements: 128 KB of floats

struct Data {
  std::vector<float> x = std::vector<float>(kSize), y = std::vector<float>(kSize), z = std::vector<float>(kSize);
  std::vector<uint8_t> a = std::vector<uint8_t>(kSize), b = std::vector<uint8_t>(kSize), c = std::vector<uint8_t>(kSize);
  Data() {
    for (size_t i = 0; i < kSize; ++i) {
      x[i] = float(i % 1000) * 0.01f - 5;
      y[i] = float(i % 777) * 0.02f + 1;
      a[i] = uint8_t(i * 7), b[i] = uint8_t(i * 11);
    }
  }
};

void run(benchmark::State& state, const std::function<void(Data&)>& routine, size_t bytes_per_element) {
  Data data;
  for (auto _ : state) {
    routine(data);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(int64_t(state.iterations()) * int64_t(kSize * bytes_per_element));
}

}  // namespace

void register_eltwise_benches() {
  const auto add = [](const std::string& name, size_t bytes, std::function<void(Data&)> routine) {
    benchmark::RegisterBenchmark(("eltwise/" + name).c_str(), run, std::move(routine), bytes);
  };
  constexpr float inf = std::numeric_limits<float>::infinity();
  constexpr DType u8 = DType::u8;
  add("memcpy", 8, [](Data& d) { std::memcpy(d.z.data(), d.x.data(), kSize * 4); });
  for (const EltwiseKernels& table : eltwise_tables()) {
    if (!covers(detected_isa(), table.needs)) continue;
    const EltwiseKernels* t = &table;
    const std::string prefix = std::string(table.name).substr(std::strlen("eltwise_")) + "/";
    const auto unary = [&](const char* name, Unary op) {
      add(prefix + name, 8, [=](Data& d) { t->unary(op, d.x.data(), d.z.data(), kSize, 0.2f, 0.5f); });
    };
    unary("relu", Unary::relu);
    unary("exp", Unary::exp);
    unary("sigmoid", Unary::sigmoid);
    unary("tanh", Unary::tanh);
    unary("gelu", Unary::gelu);
    add(prefix + "add", 12, [=](Data& d) { t->binary(Binary::add, d.x.data(), 1, d.y.data(), 1, d.z.data(), kSize, -inf, inf); });
    add(prefix + "quantize", 5, [=](Data& d) { t->quantize(d.x.data(), d.c.data(), u8, kSize, 0.04f, 128); });
    add(prefix + "dequantize", 5, [=](Data& d) { t->dequantize(d.a.data(), u8, d.z.data(), kSize, 0.04f, 128); });
    add(prefix + "requantize", 2,
        [=](Data& d) { t->requantize({d.a.data(), u8, 3, 0.7f}, {d.c.data(), u8, 5, -5, 250}, kSize); });
    add(prefix + "add_quantized", 3, [=](Data& d) {
      t->add_quantized({d.a.data(), u8, 3, 0.7f}, {d.b.data(), u8, 9, 0.4f}, {d.c.data(), u8, 5, -5, 250}, kSize);
    });
    add(prefix + "lut", 2, [=](Data& d) { t->lut(d.a.data(), d.c.data(), kSize, d.b.data()); });
    add(prefix + "min_max", 4, [=](Data& d) { t->min_max(d.x.data(), kSize, &d.z[0], &d.z[1]); });
    add(prefix + "sum", 4, [=](Data& d) { d.z[0] = t->sum(d.x.data(), kSize); });
    add(prefix + "softmax", 8, [=](Data& d) { t->softmax(d.x.data(), d.z.data(), kSize); });
    add(prefix + "layer_norm", 8, [=](Data& d) { t->layer_norm(d.x.data(), d.y.data(), d.y.data(), d.z.data(), kSize, 1e-5f); });
    add(prefix + "transpose_u8", 2, [=](Data& d) { t->transpose(d.a.data(), 128, d.c.data(), 256, 256, 128, 1); });
    add(prefix + "transpose_f32", 8, [=](Data& d) { t->transpose(d.x.data(), 128, d.z.data(), 256, 256, 128, 4); });
  }
}

}  // namespace octavo::bench
