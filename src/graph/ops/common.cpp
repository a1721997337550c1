#include "ops/common.h"

#include <cstdarg>
#include <cstdio>

namespace octavo::ops {

Status fail(const Node& node, Code code, const char* format, ...) noexcept {
  char text[300];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return Status::error(code, "%.40s '%.100s': %s", node.op_type.c_str(), node.name.c_str(), text);
}

Status misshapen(const InferContext& ctx, const char* why) {
  std::string text;
  for (const TypeShape* input : ctx.inputs) {
    if (!text.empty()) text += ", ";
    text += input ? std::string(name_of(input->dtype)) + to_string(input->shape) : "absent";
  }
  return fail(ctx.node, Code::invalid_argument, "%s (inputs: %.150s)", why, text.c_str());
}

Status bad_type(const InferContext& ctx, size_t input) {
  return fail(ctx.node, Code::unsupported, "input %zu of type %s is not supported", input, name_of(ctx.inputs[input]->dtype));
}

Status expect_inputs(const InferContext& ctx, size_t min, size_t max) {
  if (ctx.inputs.size() < min || ctx.inputs.size() > max)
    return fail(ctx.node, Code::invalid_argument, "%zu inputs, expected %zu to %zu", ctx.inputs.size(), min, max);
  for (size_t i = 0; i < min; ++i)
    if (!ctx.inputs[i]) return fail(ctx.node, Code::invalid_argument, "input %zu is missing", i);
  return {};
}

Status expect_f32(const InferContext& ctx) {
  for (size_t i = 0; i < ctx.inputs.size(); ++i)
    if (ctx.inputs[i] && ctx.inputs[i]->dtype != DType::f32) return bad_type(ctx, i);
  return {};
}

bool to_ints(const std::vector<int64_t>& values, Ints& ints) noexcept {
  return to_ints(DType::s64, values.data(), int64_t(values.size()), ints);
}

bool to_ints(DType dtype, const void* data, int64_t count, Ints& ints) noexcept {
  if (count > Ints::kMax || (dtype != DType::s64 && dtype != DType::s32)) return false;
  ints.n = int(count);
  for (int i = 0; i < ints.n; ++i)
    ints.v[i] = dtype == DType::s64 ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  return true;
}

Status read_ints(const InferContext& ctx, size_t i, Ints& ints, bool& present) {
  present = input_of(ctx, i) != nullptr;
  if (!present) return {};
  const Tensor* value = constant_of(ctx, i);
  if (!value) return fail(ctx.node, Code::unsupported, "input %zu must be a constant: the output's shape depends on it", i);
  if (!to_ints(value->dtype(), value->data(), value->count(), ints))
    return fail(ctx.node, Code::invalid_argument, "input %zu must be at most %d values of type s64 or s32", i, Ints::kMax);
  return {};
}

Status read_ints(const EvalContext& ctx, size_t i, Ints& ints, bool& present) {
  const View view = view_of(ctx, i);
  present = view.data != nullptr;
  if (!present) return {};
  if (!to_ints(view.dtype, view.data, view.count(), ints))
    return fail(ctx.node, Code::invalid_argument, "input %zu must be at most %d values of type s64 or s32", i, Ints::kMax);
  return {};
}

bool broadcast_shapes(const Shape& a, const Shape& b, Shape& out) {
  const size_t rank = std::max(a.size(), b.size());
  Shape result(rank);
  for (size_t d = 0; d < rank; ++d) {  // from the last dimension
    const int64_t x = d < a.size() ? a[a.size() - 1 - d] : 1, y = d < b.size() ? b[b.size() - 1 - d] : 1;
    if (x != y && x != 1 && y != 1) return false;
    result[rank - 1 - d] = x == 1 ? y : x;
  }
  out = std::move(result);
  return true;
}

Inferred infer_broadcast(const InferContext& ctx, size_t first, size_t count, DType dtype) {
  Shape shape;
  for (size_t i = first; i < first + count; ++i)
    if (!broadcast_shapes(shape, ctx.inputs[i]->shape, shape)) return misshapen(ctx, "shapes do not broadcast");
  return std::vector<TypeShape>{{dtype, std::move(shape)}};
}

}  // namespace octavo::ops
