// If and Loop whose course is known only at run time: the shapes of what they give must be the same whichever way they go.
#include "control.h"

#include <optional>

#include "ops/common.h"
#include "shape.h"

namespace octavo::ops {
namespace {

// A boolean or integer of one element; nothing if it is not known.
template <class T>
std::optional<T> known(const InferContext& ctx, size_t input) {
  const Tensor* value = constant_of(ctx, input);
  return value ? std::optional<T>(*value->as<T>()) : std::nullopt;
}

Status expect_one(const InferContext& ctx, size_t input, DType dtype, const char* what) {
  const TypeShape* type = input_of(ctx, input);
  if (!type) return {};
  const Expected<int64_t> count = element_count(type->shape, type->dtype);
  if (type->dtype == dtype && count && *count == 1) return {};
  return fail(ctx.node, Code::invalid_argument, "%s is %s%.100s, not one %s", what, name_of(type->dtype),
              to_string(type->shape).c_str(), name_of(dtype));
}

Status expect_declared(const Node& node, const ValueInfo& declared, const TypeShape& type) {
  if (!declared.has_type || declared.dtype == type.dtype) return {};
  return fail(node, Code::invalid_argument, "'%.80s' is %s in its graph, but given as %s", declared.name.c_str(),
              name_of(declared.dtype), name_of(type.dtype));
}

bool same(const TypeShape& a, const TypeShape& b) { return a.dtype == b.dtype && a.shape == b.shape; }

// Types in a subgraph whose inputs are the last inputs of the node.
Status enter(const InferContext& ctx, const char* name, const Graph& graph, Propagation& values) {
  const size_t first = ctx.inputs.size() - graph.inputs.size();
  for (size_t i = 0; i < graph.inputs.size(); ++i) {
    const std::string& input = graph.inputs[i].name;
    if (values.type(input)) continue;
    if (!ctx.inputs[first + i]) return fail(ctx.node, Code::invalid_argument, "'%.80s' of its %s is absent", input.c_str(), name);
    if (Status s = expect_declared(ctx.node, graph.inputs[i], *ctx.inputs[first + i]); !s.ok()) return s;
    values.set_type(input, *ctx.inputs[first + i]);
    if (const Tensor* constant = i + graph.captures >= graph.inputs.size() ? ctx.constants[first + i] : nullptr)
      values.set_constant(input, *constant);
  }
  return {};
}

// The types of the outputs.
Expected<std::vector<TypeShape>> leave(const InferContext& ctx, const char* name, const Graph& graph, Propagation& values) {
  for (const Node& node : graph.nodes)
    if (Status s = values.visit(node); !s.ok()) return fail(ctx.node, s.code(), "%s: %.300s", name, s.text());
  std::vector<TypeShape> types;
  for (const ValueInfo& output : graph.outputs) {
    const TypeShape* type = values.type(output.name);
    if (!type) return fail(ctx.node, Code::invalid_argument, "%s: nothing produces '%.80s'", name, output.name.c_str());
    if (Status s = expect_declared(ctx.node, output, *type); !s.ok()) return s;
    types.push_back(*type);
  }
  return types;
}

Inferred infer_if(const InferContext& ctx) {
  if (Status s = check_control(ctx.node); !s.ok()) return s;
  if (Status s = expect_one(ctx, 0, DType::boolean, "its condition"); !s.ok()) return s;
  const std::optional<uint8_t> condition = known<uint8_t>(ctx, 0);
  std::optional<std::vector<TypeShape>> first;
  for (const char* name : {"then_branch", "else_branch"}) {
    if (condition && (*condition != 0) != (name[0] == 't')) continue;
    const Graph& branch = *subgraph(ctx.node, name);
    Propagation values(branch);
    if (Status s = enter(ctx, name, branch, values); !s.ok()) return s;
    Inferred types = leave(ctx, name, branch, values);
    if (!types) return types;
    for (size_t i = 0; first && i < types->size(); ++i)
      if (!same((*first)[i], (*types)[i]))
        return fail(ctx.node, Code::unsupported,
                    "its branches give %s%.60s and %s%.60s as output %zu: the condition must be known when the graph is compiled",
                    name_of((*first)[i].dtype), to_string((*first)[i].shape).c_str(), name_of((*types)[i].dtype),
                    to_string((*types)[i].shape).c_str(), i);
    first = *std::move(types);
  }
  return *std::move(first);
}

Inferred infer_loop(const InferContext& ctx) {
  if (Status s = check_control(ctx.node); !s.ok()) return s;
  if (Status s = expect_one(ctx, 0, DType::s64, "its trip count"); !s.ok()) return s;
  if (Status s = expect_one(ctx, 1, DType::boolean, "its condition"); !s.ok()) return s;
  const Graph& body = *subgraph(ctx.node, "body");
  const std::optional<int64_t> trips = known<int64_t>(ctx, 0);
  const std::optional<uint8_t> condition = input_of(ctx, 1) ? known<uint8_t>(ctx, 1) : uint8_t(1);

  Propagation values(body);
  const std::string &iteration = body.inputs[0].name, &go = body.inputs[1].name;
  for (size_t i = 0; i < 2; ++i)
    if (Status s = expect_declared(ctx.node, body.inputs[i], {i == 0 ? DType::s64 : DType::boolean, {}}); !s.ok()) return s;
  values.set_type(iteration, {DType::s64, single_shape(body.inputs[0])});
  // An iteration begins only where it is true; what follows from that is constant.
  values.set_constant(go, Tensor::from(DType::boolean, single_shape(body.inputs[1]), std::vector<uint8_t>{1}));
  if (Status s = enter(ctx, "body", body, values); !s.ok()) return s;
  Inferred types = leave(ctx, "body", body, values);
  if (!types) return types;

  const Expected<int64_t> count = element_count((*types)[0].shape, DType::boolean);
  if ((*types)[0].dtype != DType::boolean || !count || *count != 1)
    return fail(ctx.node, Code::invalid_argument, "its body's condition is %s%.100s, not one bool", name_of((*types)[0].dtype),
                to_string((*types)[0].shape).c_str());
  const size_t carried = carried_values(body);
  for (size_t i = 0; i < carried; ++i) {
    const TypeShape &before = *values.type(body.inputs[2 + i].name), &after = (*types)[1 + i];
    if (!same(before, after))
      return fail(ctx.node, Code::unsupported, "its carried value '%.60s' is %s%.60s, then %s%.60s, and it is not unrolled",
                  body.inputs[2 + i].name.c_str(), name_of(before.dtype), to_string(before.shape).c_str(), name_of(after.dtype),
                  to_string(after.shape).c_str());
  }
  const Tensor* next = values.constant(body.outputs[0].name);
  const bool goes_on = next && *next->as<uint8_t>() != 0;
  if (!input_of(ctx, 0) && goes_on && condition.value_or(1) != 0)
    return fail(ctx.node, Code::invalid_argument, "it never ends: no trip count, and its condition stays true");
  std::optional<int64_t> iterations;
  if ((trips && *trips <= 0) || condition == uint8_t(0)) iterations = 0;
  else if (trips && condition && goes_on) iterations = trips;
  types->erase(types->begin());
  for (size_t i = carried; i < types->size(); ++i) {
    if (!iterations)
      return fail(ctx.node, Code::unsupported,
                  "it stacks a result of each iteration: their number must be known when the graph is compiled");
    (*types)[i].shape.insert((*types)[i].shape.begin(), *iterations);
  }
  return types;
}

constexpr OpInfo kControl[] = {
    {"If", "", infer_if, nullptr, 0, nullptr, true},
    {"Loop", "", infer_loop, nullptr, 0, nullptr, true},
};

}  // namespace

std::span<const OpInfo> control_ops() noexcept { return kControl; }

}  // namespace octavo::ops
