// Unary operators: Abs to Softplus, Not, Clip.
#include <cmath>
#include <limits>
#include <type_traits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

Inferred infer_unary(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Inferred infer_float_unary(const InferContext& ctx) {
  Inferred out = infer_unary(ctx);
  if (out && out->front().dtype != DType::f32) return bad_type(ctx, 0);
  return out;
}

Inferred infer_number_unary(const InferContext& ctx) {
  Inferred out = infer_unary(ctx);
  if (out && out->front().dtype == DType::boolean) return bad_type(ctx, 0);
  return out;
}

Inferred infer_not(const InferContext& ctx) {
  Inferred out = infer_unary(ctx);
  if (out && out->front().dtype != DType::boolean) return bad_type(ctx, 0);
  return out;
}

struct UnaryDefaults {
  float alpha, beta;
};
constexpr UnaryDefaults defaults_of(Unary op) {
  switch (op) {
    case Unary::leaky_relu: return {0.01f, 0};
    case Unary::elu: return {1, 0};
    case Unary::hardsigmoid: return {0.2f, 0.5f};
    default: return {0, 0};
  }
}

template <Unary kOp>
Status eval_float_unary(const EvalContext& ctx) {
  constexpr UnaryDefaults defaults = defaults_of(kOp);
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  ctx.eltwise.unary(kOp, static_cast<const float*>(x.data), static_cast<float*>(y.data), size_t(x.count()),
                    float_attribute(ctx.node, "alpha", defaults.alpha), float_attribute(ctx.node, "beta", defaults.beta));
  return {};
}

Status eval_gelu(const EvalContext& ctx) {
  return string_attribute(ctx.node, "approximate", "none") == "tanh" ? eval_float_unary<Unary::gelu_tanh>(ctx)
                                                                     : eval_float_unary<Unary::gelu>(ctx);
}

// Operators that integers have too; f32 takes the vector routine.
template <Unary kOp, class Scalar>
Status eval_number_unary(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  if (x.dtype == DType::f32) return eval_float_unary<kOp>(ctx);
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x.data);
    std::transform(in, in + x.count(), static_cast<T*>(y.data), Scalar());
  });
  return {};
}

struct AbsScalar {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>) return std::fabs(x);
    else return x < T(0) ? T(0 - std::make_unsigned_t<T>(x)) : x;  // the smallest integer stays itself
  }
};
struct NegScalar {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_floating_point_v<T>) return -x;
    else return T(0 - std::make_unsigned_t<T>(x));
  }
};
struct ReluScalar {
  template <class T>
  T operator()(T x) const { return x > T(0) ? x : T(0); }
};

Status eval_sign(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = static_cast<const T*>(x.data);
    std::transform(in, in + x.count(), static_cast<T*>(y.data), [](T v) { return T(T(v > T(0)) - T(v < T(0))); });
  });
  return {};
}

Status eval_not(const EvalContext& ctx) {
  const uint8_t* x = static_cast<const uint8_t*>(ctx.inputs[0].data);
  std::transform(x, x + ctx.inputs[0].count(), static_cast<uint8_t*>(ctx.outputs[0].data), [](uint8_t v) { return uint8_t(!v); });
  return {};
}

// ---- Clip: attributes before opset 11, then inputs

Inferred infer_clip(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, ctx.opset < 11 ? 1 : 3); !s.ok()) return s;
  if (ctx.inputs[0]->dtype == DType::boolean) return bad_type(ctx, 0);
  for (size_t i = 1; i < ctx.inputs.size(); ++i) {
    if (!ctx.inputs[i]) continue;
    const Expected<int64_t> count = element_count(ctx.inputs[i]->shape, ctx.inputs[i]->dtype);
    if (ctx.inputs[i]->dtype != ctx.inputs[0]->dtype || !count || *count != 1)
      return misshapen(ctx, "min and max must be scalars of the input's type");
  }
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_clip(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  visit(x.dtype, [&](auto type) {
    using T = decltype(type);
    constexpr bool kInfinite = std::numeric_limits<T>::has_infinity;
    T lo = kInfinite ? -std::numeric_limits<T>::infinity() : std::numeric_limits<T>::lowest();
    T hi = kInfinite ? std::numeric_limits<T>::infinity() : std::numeric_limits<T>::max();
    if (const View min = view_of(ctx, 1); min.data) lo = *static_cast<const T*>(min.data);
    if (const View max = view_of(ctx, 2); max.data) hi = *static_cast<const T*>(max.data);
    if constexpr (std::is_same_v<T, float>) {
      lo = float_attribute(ctx.node, "min", lo);
      hi = float_attribute(ctx.node, "max", hi);
      ctx.eltwise.clamp(static_cast<const float*>(x.data), static_cast<float*>(y.data), size_t(x.count()), lo, hi);
    } else {
      const T* in = static_cast<const T*>(x.data);
      std::transform(in, in + x.count(), static_cast<T*>(y.data), [=](T v) { return std::min(std::max(v, lo), hi); });
    }
  });
  return {};
}

constexpr OpInfo kOps[] = {
    {"Abs", "", infer_number_unary, eval_number_unary<Unary::abs, AbsScalar>},
    {"Neg", "", infer_number_unary, eval_number_unary<Unary::neg, NegScalar>},
    {"Relu", "", infer_number_unary, eval_number_unary<Unary::relu, ReluScalar>},
    {"Sign", "", infer_number_unary, eval_sign},
    {"Exp", "", infer_float_unary, eval_float_unary<Unary::exp>},
    {"Log", "", infer_float_unary, eval_float_unary<Unary::log>},
    {"Sqrt", "", infer_float_unary, eval_float_unary<Unary::sqrt>},
    {"Reciprocal", "", infer_float_unary, eval_float_unary<Unary::reciprocal>},
    {"Floor", "", infer_float_unary, eval_float_unary<Unary::floor>},
    {"Ceil", "", infer_float_unary, eval_float_unary<Unary::ceil>},
    {"Round", "", infer_float_unary, eval_float_unary<Unary::round>},
    {"LeakyRelu", "", infer_float_unary, eval_float_unary<Unary::leaky_relu>},
    {"Elu", "", infer_float_unary, eval_float_unary<Unary::elu>},
    {"Sigmoid", "", infer_float_unary, eval_float_unary<Unary::sigmoid>},
    {"Tanh", "", infer_float_unary, eval_float_unary<Unary::tanh>},
    {"Erf", "", infer_float_unary, eval_float_unary<Unary::erf>},
    {"Gelu", "", infer_float_unary, eval_gelu},
    {"HardSigmoid", "", infer_float_unary, eval_float_unary<Unary::hardsigmoid>},
    {"HardSwish", "", infer_float_unary, eval_float_unary<Unary::hardswish>},
    {"Softplus", "", infer_float_unary, eval_float_unary<Unary::softplus>},
    {"Not", "", infer_not, eval_not},
    {"Clip", "", infer_clip, eval_clip},
};

}  // namespace

std::span<const OpInfo> unary_ops() noexcept { return kOps; }

}  // namespace octavo::ops
