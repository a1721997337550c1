// Normalizations.
#include <cmath>
#include <limits>

#include "ops/common.h"

namespace octavo::ops {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

Inferred infer_batch_norm(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 5, 5); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape& x = ctx.inputs[0]->shape;
  if (ctx.opset < 14 && ctx.node.outputs.size() > 1) return fail(ctx.node, Code::unsupported, "training mode is not supported");
  if (ctx.opset < 9 && int_attribute(ctx.node, "spatial", 1) == 0) return fail(ctx.node, Code::unsupported, "spatial=0 is not supported");
  if (x.empty()) return misshapen(ctx, "the input is a scalar");
  for (size_t i = 1; i < 5; ++i)
    if (ctx.inputs[i]->shape != Shape{x.size() > 1 ? x[1] : 1}) return misshapen(ctx, "one parameter for each channel is needed");
  std::vector<TypeShape> outputs = {*ctx.inputs[0]};
  if (int_attribute(ctx.node, "training_mode", 0) != 0) outputs.resize(3, *ctx.inputs[3]);
  return outputs;
}

// y = x * scale + shift for rows of `inner` elements, one pair for each (row modulo channels).
void scale_rows(const float* x, float* y, int64_t inner, float scale, float shift) {
  for (int64_t i = 0; i < inner; ++i) y[i] = x[i] * scale + shift;
}

// Training mode: statistics of this batch, which also move the running ones.
Status train_batch_norm(const EvalContext& ctx, int64_t channels, int64_t inner) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const double epsilon = double(float_attribute(ctx.node, "epsilon", 1e-5f));
  const double momentum = double(float_attribute(ctx.node, "momentum", 0.9f)), count = double(x.dims[0] * inner);
  for (int64_t c = 0; c < channels; ++c) {
    const auto sum = [&](double mean, bool squares) {
      double total = 0;
      for (int64_t n = 0; n < x.dims[0]; ++n)
        for (int64_t i = 0; i < inner; ++i) {
          const double v = double(f32(x)[(n * channels + c) * inner + i]) - mean;
          total += squares ? v * v : v;
        }
      return count > 0 ? total / count : 0;
    };
    const double mean = sum(0, false), variance = sum(mean, true);
    const double scale = double(f32(ctx.inputs[1])[c]) / std::sqrt(variance + epsilon);
    for (int64_t n = 0; n < x.dims[0]; ++n)
      scale_rows(f32(x) + (n * channels + c) * inner, f32_out(y) + (n * channels + c) * inner, inner, float(scale),
                 float(double(f32(ctx.inputs[2])[c]) - mean * scale));
    const double moved[] = {mean, variance};
    for (size_t i = 0; i < 2; ++i)
      if (i + 1 < ctx.outputs.size() && ctx.outputs[i + 1].data)
        f32_out(ctx.outputs[i + 1])[c] = float(double(f32(ctx.inputs[3 + i])[c]) * momentum + moved[i] * (1 - momentum));
  }
  return {};
}

Status eval_batch_norm(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int64_t channels = x.rank > 1 ? x.dims[1] : 1;
  int64_t inner = 1;
  for (int d = 2; d < x.rank; ++d) inner *= x.dims[d];
  if (int_attribute(ctx.node, "training_mode", 0) != 0) return train_batch_norm(ctx, channels, inner);
  const double epsilon = double(float_attribute(ctx.node, "epsilon", 1e-5f));
  for (int64_t row = 0; row < x.dims[0] * channels; ++row) {
    const int64_t c = row % channels;
    const double scale = double(f32(ctx.inputs[1])[c]) / std::sqrt(double(f32(ctx.inputs[4])[c]) + epsilon);
    const double shift = double(f32(ctx.inputs[2])[c]) - double(f32(ctx.inputs[3])[c]) * scale;
    scale_rows(f32(x) + row * inner, f32_out(y) + row * inner, inner, float(scale), float(shift));
  }
  return {};
}

Inferred infer_instance_norm(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 3); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape& x = ctx.inputs[0]->shape;
  if (x.size() < 3 || ctx.inputs[1]->shape != Shape{x[1]} || ctx.inputs[2]->shape != Shape{x[1]})
    return misshapen(ctx, "one parameter for each channel of an input of rank 3 or more is needed");
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_instance_norm(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int64_t channels = x.dims[1], rows = x.dims[0] * channels, n = rows ? x.count() / rows : 0;
  const float epsilon = float_attribute(ctx.node, "epsilon", 1e-5f);
  for (int64_t row = 0; row < rows && n > 0; ++row) {
    const float* in = f32(x) + row * n;
    const float mean = ctx.eltwise.sum(in, size_t(n)) / float(n);
    const float variance = ctx.eltwise.sum_squares(in, size_t(n), mean) / float(n);
    const double scale = double(f32(ctx.inputs[1])[row % channels]) / std::sqrt(double(variance) + double(epsilon));
    scale_rows(in, f32_out(y) + row * n, n, float(scale),
               float(double(f32(ctx.inputs[2])[row % channels]) - double(mean) * scale));
  }
  return {};
}

// Scale and bias: one for each channel, before opset 21 one for each group.
Inferred infer_group_norm(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 3, 3); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape& x = ctx.inputs[0]->shape;
  const int64_t groups = int_attribute(ctx.node, "num_groups", 0);
  if (x.size() < 3 || groups < 1 || x[1] % groups != 0) return misshapen(ctx, "the channels do not split into num_groups");
  const Shape parameters = {ctx.opset < 21 ? groups : x[1]};
  if (ctx.inputs[1]->shape != parameters || ctx.inputs[2]->shape != parameters)
    return misshapen(ctx, "scale and bias do not fit the channels");
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_group_norm(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int64_t groups = int_attribute(ctx.node, "num_groups", 1), rows = x.dims[0] * groups, n = rows ? x.count() / rows : 0;
  const int64_t channels = x.dims[1] / groups, inner = channels ? n / channels : 0;
  const float epsilon = float_attribute(ctx.node, "epsilon", 1e-5f);
  for (int64_t row = 0; row < rows && n > 0; ++row) {
    const float* in = f32(x) + row * n;
    const float mean = ctx.eltwise.sum(in, size_t(n)) / float(n);
    const float variance = ctx.eltwise.sum_squares(in, size_t(n), mean) / float(n);
    const double inverse = 1 / std::sqrt(double(variance) + double(epsilon));
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t p = ctx.opset < 21 ? row % groups : row % groups * channels + c;
      const double scale = double(f32(ctx.inputs[1])[p]) * inverse;
      scale_rows(in + c * inner, f32_out(y) + row * n + c * inner, inner, float(scale),
                 float(double(f32(ctx.inputs[2])[p]) - double(mean) * scale));
    }
  }
  return {};
}

Inferred infer_layer_norm(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 3); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape& x = ctx.inputs[0]->shape;
  int64_t axis = int_attribute(ctx.node, "axis", -1);
  if (!normalize_axis(axis, int64_t(x.size()))) return misshapen(ctx, "the axis is out of range");
  const Shape normalized(x.begin() + axis, x.end());
  for (size_t i = 1; i < ctx.inputs.size(); ++i)
    if (ctx.inputs[i] && ctx.inputs[i]->shape != normalized)
      return misshapen(ctx, "scale and bias need the shape of the normalized dimensions");
  Shape statistics = x;
  std::fill(statistics.begin() + axis, statistics.end(), 1);
  return std::vector<TypeShape>{*ctx.inputs[0], {DType::f32, statistics}, {DType::f32, statistics}};
}

Status eval_layer_norm(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &scale = ctx.inputs[1], bias = view_of(ctx, 2), &y = ctx.outputs[0];
  const int64_t n = scale.count(), rows = n ? x.count() / n : 0;
  const float epsilon = float_attribute(ctx.node, "epsilon", 1e-5f);
  for (int64_t row = 0; row < rows; ++row) {
    const float* in = f32(x) + row * n;
    const float mean = ctx.eltwise.sum(in, size_t(n)) / float(n);
    if (ctx.outputs.size() > 1 && ctx.outputs[1].data) f32_out(ctx.outputs[1])[row] = mean;
    if (ctx.outputs.size() > 2 && ctx.outputs[2].data)
      f32_out(ctx.outputs[2])[row] = 1 / std::sqrt(ctx.eltwise.sum_squares(in, size_t(n), mean) / float(n) + epsilon);
    ctx.eltwise.layer_norm(in, f32(scale), f32(bias), f32_out(y) + row * n, size_t(n), epsilon);
  }
  return {};
}

// The mean of squares has the place of the variance, nothing is subtracted and no bias added.
Inferred infer_rms_norm(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 2, 2); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  const Shape& x = ctx.inputs[0]->shape;
  int64_t axis = int_attribute(ctx.node, "axis", -1);
  if (!normalize_axis(axis, int64_t(x.size()))) return misshapen(ctx, "the axis is out of range");
  if (ctx.inputs[1]->shape != Shape(x.begin() + axis, x.end()))
    return misshapen(ctx, "the scale needs the shape of the normalized dimensions");
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

Status eval_rms_norm(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &scale = ctx.inputs[1], &y = ctx.outputs[0];
  const int64_t n = scale.count(), rows = n ? x.count() / n : 0;
  const float epsilon = float_attribute(ctx.node, "epsilon", 1e-5f);
  for (int64_t row = 0; row < rows; ++row) {
    ctx.eltwise.rms_norm(f32(x) + row * n, f32(scale), f32_out(y) + row * n, size_t(n), epsilon);
  }
  return {};
}

Inferred infer_lrn(const InferContext& ctx) {
  if (Status s = expect_inputs(ctx, 1, 1); !s.ok()) return s;
  if (Status s = expect_f32(ctx); !s.ok()) return s;
  if (ctx.inputs[0]->shape.size() < 2) return misshapen(ctx, "an input of rank 2 or more is needed");
  if (int_attribute(ctx.node, "size", 0) < 1) return fail(ctx.node, Code::invalid_argument, "size must be positive");
  return std::vector<TypeShape>{*ctx.inputs[0]};
}

// y = x / (bias + alpha / size * sum of squares over `size` neighbouring channels) ^ beta
// x / s^beta. The usual beta of 3/4 needs two square roots instead of a logarithm and an exponential.
void divide_by_power(const EltwiseKernels& k, const float* x, float* s, int64_t n, float beta) {
  constexpr int64_t kChunk = 256;
  float root[kChunk];
  for (int64_t i = 0; i < n; i += kChunk) {
    const size_t count = size_t(std::min(kChunk, n - i));
    if (beta == 0.75f) {
      k.unary(Unary::sqrt, s + i, s + i, count, 0, 0);
      k.unary(Unary::sqrt, s + i, root, count, 0, 0);
      k.binary(Binary::mul, s + i, 1, root, 1, s + i, count, -kInf, kInf);
    } else {
      k.binary(Binary::pow, s + i, 1, &beta, 0, s + i, count, -kInf, kInf);
    }
    k.binary(Binary::div, x + i, 1, s + i, 1, s + i, count, -kInf, kInf);
  }
}

Status eval_lrn(const EvalContext& ctx) {
  const View &x = ctx.inputs[0], &y = ctx.outputs[0];
  const int64_t size = int_attribute(ctx.node, "size", 1), channels = x.dims[1];
  const float alpha = float_attribute(ctx.node, "alpha", 1e-4f) / float(size), beta = float_attribute(ctx.node, "beta", 0.75f);
  const float bias = float_attribute(ctx.node, "bias", 1);
  int64_t inner = 1;
  for (int d = 2; d < x.rank; ++d) inner *= x.dims[d];
  for (int64_t row = 0; row < x.dims[0] * channels; ++row) {
    const int64_t c = row % channels;
    const int64_t first = std::max<int64_t>(0, c - (size - 1) / 2), last = std::min(channels - 1, c + size / 2);
    const float* in = f32(x) + row * inner;
    float* out = f32_out(y) + row * inner;
    std::fill_n(out, inner, 0.0f);
    for (int64_t k = first - c; k <= last - c; ++k)
      for (int64_t i = 0; i < inner; ++i) out[i] += in[k * inner + i] * in[k * inner + i];
    scale_rows(out, out, inner, alpha, bias);
    divide_by_power(ctx.eltwise, in, out, inner, beta);
  }
  return {};
}

constexpr OpInfo kOps[] = {
    {"BatchNormalization", "", infer_batch_norm, eval_batch_norm},
    {"InstanceNormalization", "", infer_instance_norm, eval_instance_norm},
    {"GroupNormalization", "", infer_group_norm, eval_group_norm},
    {"LayerNormalization", "", infer_layer_norm, eval_layer_norm},
    {"RMSNormalization", "", infer_rms_norm, eval_rms_norm},
    {"LRN", "", infer_lrn, eval_lrn},
};

}  // namespace

std::span<const OpInfo> norm_ops() noexcept { return kOps; }

}  // namespace octavo::ops
