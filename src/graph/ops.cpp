#include "ops.h"

#include "ops/common.h"

namespace octavo::ops {

int64_t View::count() const noexcept {
  int64_t n = 1;
  for (int d = 0; d < rank; ++d) n *= dims[d];
  return n;
}

const OpInfo* find(std::string_view op_type, std::string_view domain) noexcept {
  for (const std::span<const OpInfo> family :
       {unary_ops(), binary_ops(), convert_ops(), math_ops(), reshape_ops(), move_ops(), index_ops(), make_ops(), reduce_ops(),
        nn_ops(), norm_ops(), resize_ops(), attention_ops(), recurrent_ops(), quantize_ops(), integer_ops(),
        einsum_ops(), grid_ops(), trigonometric_ops(), control_ops()})
    for (const OpInfo& op : family)
      if (op.op_type == op_type && op.domain == domain) return &op;
  return nullptr;
}

Expected<std::vector<TypeShape>> infer(const OpInfo& op, const InferContext& ctx) {
  for (const TypeShape* input : ctx.inputs)
    if (input && input->shape.size() > size_t(kMaxRank))
      return fail(ctx.node, Code::unsupported, "an input of %zu dimensions, more than %d", input->shape.size(), kMaxRank);
  Inferred outputs = op.infer(ctx);
  if (!outputs) return outputs;
  if (ctx.node.outputs.size() > outputs->size())
    return fail(ctx.node, Code::invalid_argument, "%zu outputs, expected at most %zu", ctx.node.outputs.size(), outputs->size());
  if (!op.may_skip_first && !ctx.node.outputs.empty() && ctx.node.outputs[0].empty())
    return fail(ctx.node, Code::unsupported, "its first output is not named");
  for (const TypeShape& output : *outputs) {
    if (output.shape.size() > size_t(kMaxRank))
      return fail(ctx.node, Code::unsupported, "an output of %zu dimensions, more than %d", output.shape.size(), kMaxRank);
    if (const auto count = element_count(output.shape, output.dtype); !count)
      return fail(ctx.node, count.status().code(), "output %.100s: %s", to_string(output.shape).c_str(), count.status().text());
  }
  return outputs;
}

}  // namespace octavo::ops
