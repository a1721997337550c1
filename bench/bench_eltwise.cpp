// eltwise/<table>/<routine>/<l1|l2|dram>: bytes read and written per second, and `bound`: the share of what bounds the routine, the
// longer of
//   the bytes   memcpy of as many bytes, read and written together, in turns with the routine, in buffers as near; where more is
//               written than read or nothing is, a loop of stores or loads
//   the mix     the vector instructions that the formula takes, Mix, at the rates that this process measures
// `by` says which: 0 the bytes, 1 the mix. l1: 24 KiB in all, l2: 256 KiB, dram: 128 MiB.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "bench.h"
#include "eltwise_bound.h"
#include "octavo/conv.h"
#include "octavo/eltwise.h"

namespace octavo::bench {
namespace {

struct Level {
  const char* name;
  size_t bytes;
};
constexpr Level kLevels[] = {{"l1", 24u << 10}, {"l2", 256u << 10}, {"dram", 128u << 20}};
constexpr size_t kRow = 768;    // of softmax and the norms
constexpr size_t kSide = 64;    // rows of a matrix to transpose; channels of a pool
constexpr float kInf = std::numeric_limits<float>::infinity();

// Operands of up to 128 MiB: x, y, z are floats or bytes, z is written.
struct Data {
  Buffer x, y, z;
  explicit Data(size_t bytes) : x(bytes, 2), y(bytes, 3), z(bytes, 4) {}
  void floats() {
    for (size_t i = 0; i < x.size / 4; ++i) {
      x.as<float>()[i] = float(i % 1000) * 0.01f - 5;
      y.as<float>()[i] = float(i % 777) * 0.02f + 1;
    }
  }
  void bytes() {
    for (size_t i = 0; i < x.size; ++i) x.as<uint8_t>()[i] = uint8_t(i * 7), y.as<uint8_t>()[i] = uint8_t(i * 11);
  }
};

// One routine at one size.
struct Work {
  double read, written;  // bytes
  Mix mix;
  double floats;         // how many the mix is to be taken for (32 of whatever the mix is of)
  std::function<void()> call;
};
struct Routine {
  std::string name;
  bool floats;  // whether x and y hold floats
  std::function<Work(const EltwiseKernels&, Data&, size_t bytes)> at;
};

void bench(benchmark::State& state, const EltwiseKernels& table, const Routine& r, size_t bytes) {
  // One set of operands for all, since to fill it takes longer than a routine.
  static Data data(kLevels[2].bytes);
  static int holds = -1;
  if (holds != int(r.floats)) r.floats ? data.floats() : data.bytes(), holds = int(r.floats);
  const Work w = r.at(table, data, bytes);
  const std::function<void()> call = [&] {
    w.call();
    benchmark::ClobberMemory();
  };
  const Beside t = time_beside(call, size_t(w.read), size_t(w.written));
  const double mix = mix_seconds(table.needs, w.mix, w.floats);
  for (auto _ : state) call();
  state.SetBytesProcessed(int64_t(double(state.iterations()) * (w.read + w.written)));
  state.counters["bound"] = std::max(t.bytes, mix) / t.routine;
  state.counters["by"] = mix > t.bytes;
}

// A routine on n elements of which it reads and writes so many bytes each.
Routine per_element(std::string name, bool floats, double read, double written, Mix mix,
                    void (*run)(const EltwiseKernels&, Data&, size_t)) {
  return {std::move(name), floats, [=](const EltwiseKernels& t, Data& d, size_t bytes) {
            // Whole rows of kRow and whole matrices of kSide rows.
            const size_t n = size_t(double(bytes) / (read + written)) / kRow * kRow;
            return Work{double(n) * read, double(n) * written, mix, double(n), [&t, &d, n, run] { run(t, d, n); }};
          }};
}

Routine unary(std::string name, Unary op, Mix mix) {
  return {std::move(name), true, [=](const EltwiseKernels& t, Data& d, size_t bytes) {
            const size_t n = bytes / 8;
            return Work{double(n) * 4, double(n) * 4, mix, double(n),
                        [&t, &d, n, op] { t.unary(op, d.x.as<float>(), d.z.as<float>(), n, 0.2f, 0.5f); }};
          }};
}

// Pools of images of kSide channels (256 under a window of 7x7, the whole image): a maximum or a sum, and a load, of each tap. Of
// bytes a tap is a shuffle, a product and a sum (of two taps at a time), or two sums of words and a shift for odd bytes; maxima, whose
// order does not matter, are those of each new column's taps, and of the columns. Memory is read once, whatever the taps.
Routine pool(std::string name, DType type, PoolKind kind, int64_t size, int64_t stride) {
  return {std::move(name), type == DType::f32, [=](const EltwiseKernels& t, Data& d, size_t bytes) {
            const size_t channels = size == 7 ? 256 : kSide, pixel = channels * size_of(type);
            PoolDesc desc;
            int64_t side = bytes < 1u << 16 ? 8 : bytes < 1u << 20 ? 24 : 96;
            if (type != DType::f32) side *= 2;
            if (size == 7) side = 7;
            desc.window.ih = desc.window.iw = side, desc.window.kh = desc.window.kw = size;
            desc.window.stride_h = desc.window.stride_w = stride;
            desc.channels = int64_t(channels), desc.dtype = type, desc.kind = kind;
            desc.in_q = desc.out_q = {0.05f, type == DType::u8 ? 3 : 0};
            desc.use_isa = true, desc.isa = t.needs;
            const Expected<PoolPlan> plan = PoolPlan::create(desc);
            const size_t in = size_t(side * side), out = size_t(desc.window.oh() * desc.window.ow());
            const size_t images = std::max<size_t>(1, bytes / ((in + out) * pixel));
            const double taps = double(size * size);
            const bool floats = type == DType::f32, average = kind == PoolKind::average;
            const double maxima = double((stride + 1) * (size - 1));
            Mix mix = floats && average ? Mix{4 * taps, 4, 4 * taps} : floats ? Mix{4 * taps, 0, 4 * taps}
                      : average ? Mix{taps + 17, 0, 3 * taps + 28} : Mix{maxima, 0, maxima};
            mix.loads = floats ? 4 * taps : average ? taps : double(stride * stride);
            ConvArgs args;
            args.batch = int64_t(images), args.a = d.x.data(), args.c = d.z.data();
            return Work{double(images * in * pixel), double(images * out * pixel), mix, double(images * out * channels),
                        [plan = *plan, args] {
                          alignas(64) static char workspace[4096];
                          if (!plan.run(args, workspace, single_thread()).ok()) std::abort();
                        }};
          }};
}

void transpose(const EltwiseKernels& t, Data& d, size_t rows, size_t cols, size_t size) {
  t.transpose(d.x.data(), ptrdiff_t(cols), d.z.data(), ptrdiff_t(rows), rows, cols, size);
}

std::vector<Routine> routines() {
  constexpr DType u8 = DType::u8, s8 = DType::s8;
  using K = const EltwiseKernels&;
  std::vector<Routine> all = {
      // name, floats, bytes read and written by element, {fma, div, all}
      per_element("memcpy", true, 4, 4, {}, [](K, Data& d, size_t n) { std::memcpy(d.z.data(), d.x.data(), n * 4); }),
      per_element("quantize", true, 4, 1, {6, 4, 4 * 5 + 8},
                  [](K t, Data& d, size_t n) { t.quantize(d.x.as<float>(), d.z.data(), u8, n, 0.04f, 128); }),
      per_element("dequantize", false, 1, 4, {8, 0, 16},
                  [](K t, Data& d, size_t n) { t.dequantize(d.x.data(), u8, d.z.as<float>(), n, 0.04f, 128); }),
      per_element("dequantize_s8", false, 1, 4, {8, 0, 16},
                  [](K t, Data& d, size_t n) { t.dequantize(d.x.data(), s8, d.z.as<float>(), n, 0.04f, 3); }),
      per_element("dequantize_s32", false, 4, 4, {4, 0, 12},
                  [](K t, Data& d, size_t n) { t.dequantize(d.x.data(), DType::s32, d.z.as<float>(), n, 0.04f, 3); }),
      per_element("requantize", false, 1, 1, {4 + 5, 0, 6 + 4 * 3 + 7},
                  [](K t, Data& d, size_t n) { t.requantize({d.x.data(), u8, 3, 0.7f}, {d.z.data(), u8, 5, -5, 250}, n); }),
      per_element("add_quantized", false, 2, 1, {8 + 5, 0, 12 + 8 + 8 + 4 + 7},
                  [](K t, Data& d, size_t n) {
                    t.add_quantized({d.x.data(), u8, 3, 0.7f}, {d.y.data(), u8, 9, 0.4f}, {d.z.data(), u8, 5, -5, 250}, n);
                  }),
      per_element("mul_quantized", false, 2, 1, {8 + 5, 0, 12 + 8 + 8 + 4 + 7},
                  [](K t, Data& d, size_t n) {
                    t.mul_quantized({d.x.data(), u8, 3, 0.003f}, {d.y.data(), u8, 9, 0}, {d.z.data(), u8, 5, -5, 250}, n);
                  }),
      per_element("lut", false, 1, 1, {16 + 15, 0, 16 + 15 + 4},
                  [](K t, Data& d, size_t n) { t.lut(d.x.data(), d.z.data(), n, d.y.as<uint8_t>()); }),
      per_element("add", true, 8, 4, {0, 0, 4},
                  [](K t, Data& d, size_t n) { t.binary(Binary::add, d.x.as<float>(), 1, d.y.as<float>(), 1, d.z.as<float>(), n, -kInf, kInf); }),
      per_element("add_relu", true, 8, 4, {8, 0, 12},
                  [](K t, Data& d, size_t n) { t.binary(Binary::add, d.x.as<float>(), 1, d.y.as<float>(), 1, d.z.as<float>(), n, 0, kInf); }),
      per_element("mul", true, 8, 4, {4, 0, 4},
                  [](K t, Data& d, size_t n) { t.binary(Binary::mul, d.x.as<float>(), 1, d.y.as<float>(), 1, d.z.as<float>(), n, -kInf, kInf); }),
      per_element("mul_scalar", true, 4, 4, {4, 0, 4},
                  [](K t, Data& d, size_t n) { t.binary(Binary::mul, d.x.as<float>(), 1, d.y.as<float>(), 0, d.z.as<float>(), n, -kInf, kInf); }),
      per_element("clamp", true, 4, 4, {8, 0, 8}, [](K t, Data& d, size_t n) { t.clamp(d.x.as<float>(), d.z.as<float>(), n, 0, 6); }),
      per_element("min_max", true, 4, 0, {8, 0, 8}, [](K t, Data& d, size_t n) { t.min_max(d.x.as<float>(), n, d.z.as<float>(), d.z.as<float>() + 1); }),
      per_element("sum", true, 4, 0, {0, 0, 4, 2}, [](K t, Data& d, size_t n) { *d.z.as<float>() = t.sum(d.x.as<float>(), n); }),
      // Three passes, each of which waits for what the one before finds. 4 loads of the first, two a cycle, and 4 stores of the last,
      // one a cycle, take as long as 12 products.
      per_element("softmax", true, 4, 4, {4 * 10 + 12, 0, 4 * 17},
                  [](K t, Data& d, size_t n) {
                    for (size_t i = 0; i < n; i += kRow) t.softmax(d.x.as<float>() + i, d.z.as<float>() + i, kRow);
                  }),
      // Sums of 16 lanes, each of which waits for the one before it (3 cycles) or for a product and a sum (4): 2 and 2 in 32 floats;
      // then a pass that loads 12 vectors, two a cycle: (2 * 3 + 2 * 4 + 6) / 3 sums.
      per_element("layer_norm", true, 4, 4, {8, 0, 20, 20.0 / 3},
                  [](K t, Data& d, size_t n) {
                    const float* g = d.y.as<float>();
                    for (size_t i = 0; i < n; i += kRow) t.layer_norm(d.x.as<float>() + i, g, g, d.z.as<float>() + i, kRow, 1e-5f);
                  }),
      // log2 of a lane's elements shuffles of each register, and a lane that is inserted from memory.
      per_element("transpose_u8", false, 1, 1, {4, 0, 5}, [](K t, Data& d, size_t n) { transpose(t, d, n / kSide, kSide, 1); }),
      per_element("transpose_f32", true, 4, 4, {8, 0, 12}, [](K t, Data& d, size_t n) { transpose(t, d, n / kSide, kSide, 4); }),
      per_element("to_nhwc_u8", false, 1, 1, {4, 0, 5}, [](K t, Data& d, size_t n) { transpose(t, d, kSide, n / kSide, 1); }),
      per_element("to_nhwc_f32", true, 4, 4, {8, 0, 12}, [](K t, Data& d, size_t n) { transpose(t, d, kSide, n / kSide, 4); }),
      // A shuffle of each register, and two blends of three of them.
      per_element("rgb_to_nhwc_u8", false, 1, 1, {1, 0, 3}, [](K t, Data& d, size_t n) { transpose(t, d, 3, n / 3, 1); }),
      per_element("rgb_to_nhwc_f32", true, 4, 4, {4, 0, 12}, [](K t, Data& d, size_t n) { transpose(t, d, 3, n / 3, 4); }),
      pool("max_pool_2x2_u8", u8, PoolKind::max, 2, 2),
      pool("max_pool_3x3s2_u8", u8, PoolKind::max, 3, 2),
      pool("max_pool_3x3s2_s8", s8, PoolKind::max, 3, 2),
      pool("max_pool_3x3s2_f32", DType::f32, PoolKind::max, 3, 2),
      pool("avg_pool_2x2_u8", u8, PoolKind::average, 2, 2),
      pool("avg_pool_2x2_f32", DType::f32, PoolKind::average, 2, 2),
      pool("global_avg_pool_u8", u8, PoolKind::average, 7, 1),
      pool("global_avg_pool_f32", DType::f32, PoolKind::average, 7, 1),
  };
  const struct {
    const char* name;
    Unary op;
    Mix mix;
  } functions[] = {
      {"relu", Unary::relu, {4, 0, 4}},
      {"hardswish", Unary::hardswish, {16, 0, 16}},
      {"exp", Unary::exp, {4 * 11, 0, 4 * 18}},
      {"sigmoid", Unary::sigmoid, {4 * 10, 4, 4 * 16}},
      {"silu", Unary::silu, {4 * 10, 4, 4 * 16}},
      {"tanh", Unary::tanh, {4 * 10, 4, 4 * 20}},
      {"erf", Unary::erf, {4 * 21, 0, 4 * 32}},
      {"gelu", Unary::gelu, {4 * 16, 0, 4 * 23}},
      {"gelu_tanh", Unary::gelu_tanh, {4 * 13, 4, 4 * 19}},
  };
  for (const auto& f : functions) all.push_back(unary(f.name, f.op, f.mix));
  return all;
}

}  // namespace

void register_eltwise_benches() {
  for (const EltwiseKernels& table : eltwise_tables()) {
    if (!covers(detected_isa(), table.needs)) continue;
    const std::string prefix = "eltwise/" + std::string(table.name).substr(std::strlen("eltwise_")) + "/";
    for (const Routine& r : routines())
      for (const Level& level : kLevels)
        benchmark::RegisterBenchmark((prefix + r.name + "/" + level.name).c_str(), [&table, r, level](benchmark::State& state) {
          bench(state, table, r, level.bytes);
        });
  }
}

}  // namespace octavo::bench
