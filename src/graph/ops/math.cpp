// Elementwise functions beside those with a vector routine of their own, composed of the routines there are.
#include <cmath>
#include <limits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr int64_t kBlock = 256;  // elements of temporaries on the stack

Inferred infer_f32(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (ctx.inputs[0]->dtype != DType::f32) return bad_type(ctx, 0);
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

// f(x, y, n) over blocks that fit temporaries; y may be x.
template <class F>
Status for_blocks(const EvalContext& ctx, F&& f) {
  const int64_t count = ctx.outputs[0].count();
  for (int64_t i = 0; i < count; i += kBlock) f(f32(ctx.inputs[0]) + i, f32_out(ctx.outputs[0]) + i, std::min(kBlock, count - i));
  return {};
}

// y = x * sigmoid(alpha x)
void swish(const EltwiseKernels& k, const float* x, float* y, int64_t n, float alpha) {
  float gate[kBlock];
  k.binary(Binary::mul, x, 1, &alpha, 0, gate, size_t(n), -kInf, kInf);
  k.unary(Unary::sigmoid, gate, gate, size_t(n), 0, 0);
  k.binary(Binary::mul, x, 1, gate, 1, y, size_t(n), -kInf, kInf);
}

Status eval_swish(const EvalContext& ctx) {
  const float alpha = float_attribute(ctx.node, "alpha", 1);
  return for_blocks(ctx, [&](const float* x, float* y, int64_t n) { swish(ctx.eltwise, x, y, n, alpha); });
}

Inferred infer_swiglu(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  if (ctx.inputs[0]->shape != ctx.inputs[1]->shape) return misshapen(ctx, "the shapes differ");
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

// y = swish(a) * b
Status eval_swiglu(const EvalContext& ctx) {
  const float alpha = float_attribute(ctx.node, "alpha", 1);
  const float* a = f32(ctx.inputs[0]);
  return for_blocks(ctx, [&](const float* x, float* y, int64_t n) {
    swish(ctx.eltwise, x, y, n, alpha);
    ctx.eltwise.binary(Binary::mul, y, 1, f32(ctx.inputs[1]) + (x - a), 1, y, size_t(n), -kInf, kInf);
  });
}

// y = x * tanh(softplus(x))
Status eval_mish(const EvalContext& ctx) {
  return for_blocks(ctx, [&](const float* x, float* y, int64_t n) {
    float gate[kBlock];
    ctx.eltwise.unary(Unary::softplus, x, gate, size_t(n), 0, 0);
    ctx.eltwise.unary(Unary::tanh, gate, gate, size_t(n), 0, 0);
    ctx.eltwise.binary(Binary::mul, x, 1, gate, 1, y, size_t(n), -kInf, kInf);
  });
}

// y = gamma * (x > 0 ? x : alpha * (e^x - 1))
Status eval_selu(const EvalContext& ctx) {
  const float alpha = float_attribute(ctx.node, "alpha", 1.67326319217681884765625f);
  const float gamma = float_attribute(ctx.node, "gamma", 1.05070102214813232421875f);
  return for_blocks(ctx, [&](const float* x, float* y, int64_t n) {
    ctx.eltwise.unary(Unary::elu, x, y, size_t(n), alpha, 0);
    for (int64_t i = 0; i < n; ++i) y[i] *= gamma;
  });
}

Status eval_softsign(const EvalContext& ctx) {
  return for_blocks(ctx, [](const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] / (1 + std::fabs(x[i]));
  });
}

Status eval_thresholded_relu(const EvalContext& ctx) {
  const float alpha = float_attribute(ctx.node, "alpha", 1);
  return for_blocks(ctx, [alpha](const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] > alpha ? x[i] : 0;
  });
}

// y = max(0, x) + min(0, alpha * (e^(x / alpha) - 1))
Inferred infer_celu(const InferContext& ctx) {
  if (!(float_attribute(ctx.node, "alpha", 1) > 0)) return fail(ctx.node, Code::unsupported, "alpha is no positive number");
  return infer_f32(ctx);
}

Status eval_celu(const EvalContext& ctx) {
  const float alpha = float_attribute(ctx.node, "alpha", 1);
  return for_blocks(ctx, [&](const float* x, float* y, int64_t n) {
    float units[kBlock] = {};
    for (int64_t i = 0; i < n; ++i) units[i] = std::min(x[i] / alpha, 0.0f);
    ctx.eltwise.unary(Unary::elu, units, units, size_t(n), alpha, 0);
    for (int64_t i = 0; i < n; ++i) y[i] = std::max(x[i], 0.0f) + units[i];
  });
}

// y = x + bias below -lambda, x - bias above lambda, else 0
Status eval_shrink(const EvalContext& ctx) {
  const float bias = float_attribute(ctx.node, "bias", 0), lambda = float_attribute(ctx.node, "lambd", 0.5f);
  return for_blocks(ctx, [&](const float* x, float* y, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i] < -lambda ? x[i] + bias : x[i] > lambda ? x[i] - bias : 0;
  });
}

Inferred infer_test(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (!is_float(ctx.inputs[0]->dtype)) return bad_type(ctx, 0);
  return std::vector<TypeShape>{{DType::boolean, ctx.inputs[0]->shape}};
}

template <class F>
Status test(const EvalContext& ctx, F&& f) {
  const auto map = [&](const auto* x) {
    std::transform(x, x + ctx.inputs[0].count(), static_cast<uint8_t*>(ctx.outputs[0].data), [&](auto v) { return uint8_t(f(v)); });
  };
  if (ctx.inputs[0].dtype == DType::f32) map(f32(ctx.inputs[0]));
  else map(static_cast<const double*>(ctx.inputs[0].data));
  return {};
}

Status eval_is_nan(const EvalContext& ctx) {
  return test(ctx, [](auto v) { return v != v; });
}

Status eval_is_inf(const EvalContext& ctx) {
  const bool negative = int_attribute(ctx.node, "detect_negative", 1) != 0,
             positive = int_attribute(ctx.node, "detect_positive", 1) != 0;
  return test(ctx, [=](auto v) { return (positive && v == decltype(v)(kInf)) || (negative && v == decltype(v)(-kInf)); });
}

// ---- Mod: of integers with the sign of the divisor; fmod = 1 (any type): with the sign of the dividend

Inferred infer_mod(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  const TypeShape &a = *ctx.inputs[0], &b = *ctx.inputs[1];
  if (a.dtype == DType::boolean || a.dtype != b.dtype) return bad_type(ctx, a.dtype == DType::boolean ? 0 : 1);
  if (is_float(a.dtype) && int_attribute(ctx.node, "fmod", 0) == 0)
    return fail(ctx.node, Code::invalid_argument, "floats need fmod = 1");
  TypeShape y{a.dtype, {}};
  if (!broadcast_shapes(a.shape, b.shape, y.shape)) return misshapen(ctx, "shapes do not broadcast");
  return std::vector<TypeShape>{std::move(y)};
}

template <class T>
T modulo(T a, T b, bool fmod) {
  if constexpr (std::is_floating_point_v<T>) {
    return std::fmod(a, b);
  } else {
    if (std::is_signed_v<T> && b == T(-1)) return 0;  // the smallest integer has no quotient
    const T r = T(a % b);
    return !fmod && r != 0 && (r < 0) != (b < 0) ? T(r + b) : r;
  }
}

Status eval_mod(const EvalContext& ctx) {
  const View inputs[] = {ctx.inputs[0], ctx.inputs[1]};
  const View& y = ctx.outputs[0];
  const bool fmod = int_attribute(ctx.node, "fmod", 0) != 0;
  bool by_zero = false;
  visit(y.dtype, [&](auto type) {
    using T = decltype(type);
    BroadcastLoop<2>(y, inputs).for_rows([&](int64_t out, const int64_t(&in)[2], int64_t n, const int64_t(&step)[2]) {
      const T* a = static_cast<const T*>(inputs[0].data) + in[0];
      const T* b = static_cast<const T*>(inputs[1].data) + in[1];
      for (int64_t i = 0; i < n; ++i) {
        const T divisor = b[i * step[1]];
        const bool zero = !std::is_floating_point_v<T> && divisor == T(0);
        by_zero = by_zero || zero;
        static_cast<T*>(y.data)[out + i] = zero ? T(0) : modulo(a[i * step[0]], divisor, fmod);
      }
    });
  });
  return by_zero ? fail(ctx.node, Code::invalid_argument, "integer division by zero") : Status();
}

constexpr OpInfo kOps[] = {
    {"Swish", "", infer_f32, eval_swish},       {"SwiGLU", "", infer_swiglu, eval_swiglu},
    {"Mish", "", infer_f32, eval_mish},         {"Selu", "", infer_f32, eval_selu},
    {"Softsign", "", infer_f32, eval_softsign}, {"ThresholdedRelu", "", infer_f32, eval_thresholded_relu},
    {"Celu", "", infer_celu, eval_celu},        {"Shrink", "", infer_f32, eval_shrink},
    {"IsNaN", "", infer_test, eval_is_nan},     {"IsInf", "", infer_test, eval_is_inf},
    {"Mod", "", infer_mod, eval_mod},
};

}  // namespace

std::span<const OpInfo> math_ops() noexcept { return kOps; }

}  // namespace octavo::ops
