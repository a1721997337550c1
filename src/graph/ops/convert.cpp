// Operators that compute in another type than they store: Cast, CastLike, Pow.
#include <limits>
#include <type_traits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

// Rounds toward zero; out of range gives the nearest value, NaN gives 0 (C++ leaves both undefined).
template <class To, class From>
To convert(From v) {
  if constexpr (std::is_floating_point_v<From> && !std::is_floating_point_v<To>) {
    if (!(v == v)) return 0;
    if (v <= From(std::numeric_limits<To>::lowest())) return std::numeric_limits<To>::lowest();
    if (v >= From(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  }
  return static_cast<To>(v);
}

void cast(const View& x, const View& y) {
  const int64_t n = x.count();
  visit(x.dtype, [&](auto from) {
    using From = decltype(from);
    const From* in = static_cast<const From*>(x.data);
    if (y.dtype == DType::boolean) {
      std::transform(in, in + n, static_cast<uint8_t*>(y.data), [](From v) { return uint8_t(v != From(0)); });
      return;
    }
    visit(y.dtype, [&](auto to) {
      using To = decltype(to);
      std::transform(in, in + n, static_cast<To*>(y.data), [](From v) { return convert<To>(v); });
    });
  });
}

// ONNX's number for the type, as in Cast's attribute `to`.
constexpr DType kOnnxTypes[] = {DType::f32, DType::u8,  DType::s8,  DType::u16,     DType::s16, DType::s32, DType::s64,
                                DType::f32, DType::boolean, DType::f32, DType::f64, DType::u32, DType::u64};

Inferred infer_cast(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  const int64_t to = int_attribute(ctx.node, "to", 0);
  if (to < 1 || to > 13 || to == 8 || to == 10)
    return fail(ctx.node, Code::unsupported, "conversion to ONNX type %lld is not supported", static_cast<long long>(to));
  return std::vector<TypeShape>{{kOnnxTypes[to - 1], ctx.inputs[0]->shape}};
}

Inferred infer_cast_like(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  return std::vector<TypeShape>{{ctx.inputs[1]->dtype, ctx.inputs[0]->shape}};
}

Status eval_cast(const EvalContext& ctx) {
  cast(ctx.inputs[0], ctx.outputs[0]);
  return {};
}

// ---- Pow: the result has the base's type

Inferred infer_pow(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  for (size_t i = 0; i < 2; ++i)
    if (ctx.inputs[i]->dtype == DType::boolean || ctx.inputs[i]->dtype == DType::f64) return bad_type(ctx, i);
  return infer_broadcast(ctx, 0, 2, ctx.inputs[0]->dtype);
}

int64_t integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0) return base == 1 ? 1 : base == -1 ? (exponent % 2 ? -1 : 1) : 0;
  uint64_t result = 1, square = uint64_t(base);
  for (; exponent > 0; exponent >>= 1, square *= square)
    if (exponent & 1) result *= square;
  return int64_t(result);
}

// n elements from `at` on, `step` apart, as To.
template <class To>
void load(const View& x, int64_t at, int64_t step, int64_t n, To* y) {
  visit(x.dtype, [&](auto type) {
    const auto* in = static_cast<const decltype(type)*>(x.data) + at;
    for (int64_t i = 0; i < n; ++i) y[i] = To(in[i * step]);
  });
}

template <class From>
void store(const From* x, int64_t n, const View& y, int64_t at) {
  visit(y.dtype, [&](auto type) {
    using To = decltype(type);
    std::transform(x, x + n, static_cast<To*>(y.data) + at, convert<To, From>);
  });
}

// Integers to the power of integers are exact; all else is computed in f32.
Status eval_pow(const EvalContext& ctx) {
  const View &a = ctx.inputs[0], &b = ctx.inputs[1], &y = ctx.outputs[0];
  const View inputs[] = {a, b};
  const bool integers = !is_float(a.dtype) && !is_float(b.dtype), floats = a.dtype == DType::f32 && b.dtype == DType::f32;
  BroadcastLoop<2>(y, inputs).for_rows([&](int64_t out, const int64_t(&in)[2], int64_t n, const int64_t(&step)[2]) {
    if (floats) {
      ctx.eltwise.binary(Binary::pow, f32(a) + in[0], int(step[0]), f32(b) + in[1], int(step[1]), f32_out(y) + out, size_t(n), -kInf,
                         kInf);
      return;
    }
    constexpr int64_t kBlock = 64;  // elements of temporaries on the stack
    for (int64_t i = 0; i < n; i += kBlock) {
      const int64_t m = std::min(kBlock, n - i), at_a = in[0] + i * step[0], at_b = in[1] + i * step[1];
      if (integers) {
        int64_t base[kBlock], exponent[kBlock];
        load(a, at_a, step[0], m, base);
        load(b, at_b, step[1], m, exponent);
        std::transform(base, base + m, exponent, base, integer_power);
        store(base, m, y, out + i);
      } else {
        float base[kBlock], exponent[kBlock];
        load(a, at_a, step[0], m, base);
        load(b, at_b, step[1], m, exponent);
        ctx.eltwise.binary(Binary::pow, base, 1, exponent, 1, base, size_t(m), -kInf, kInf);
        store(base, m, y, out + i);
      }
    }
  });
  return {};
}

constexpr OpInfo kOps[] = {
    {"Cast", "", infer_cast, eval_cast},
    {"CastLike", "", infer_cast_like, eval_cast},
    {"Pow", "", infer_pow, eval_pow},
};

}  // namespace

std::span<const OpInfo> convert_ops() noexcept { return kOps; }

}  // namespace octavo::ops
