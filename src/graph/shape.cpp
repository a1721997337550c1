#include "shape.h"

#include <algorithm>
#include <cstddef>
#include <new>

#include "control.h"

namespace octavo {
namespace {

ops::View view_of(const TypeShape& type, void* data) {
  // A tensor without elements has no memory, but is not absent.
  static char nothing;
  ops::View view;
  view.dtype = type.dtype;
  view.rank = int(type.shape.size());
  std::copy(type.shape.begin(), type.shape.end(), view.dims);
  view.data = data ? data : &nothing;
  return view;
}

}  // namespace

bool reads_only_shapes(const Node& node) { return node.domain.empty() && (node.op_type == "Shape" || node.op_type == "Size"); }

Expected<TypeShape> input_shape(const ValueInfo& input, const std::map<std::string, Shape>& given) {
  const char* name = input.name.c_str();
  TypeShape type{input.dtype, {}};
  const auto it = given.find(input.name);
  if (it != given.end()) {
    type.shape = it->second;
    bool fits = !input.has_shape || type.shape.size() == input.dims.size();
    for (size_t d = 0; fits && d < input.dims.size(); ++d) fits = input.dims[d].size < 0 || input.dims[d].size == type.shape[d];
    if (!fits)
      return Status::error(Code::invalid_argument, "the shape %.100s does not fit the graph input '%.100s'",
                           to_string(type.shape).c_str(), name);
  } else {
    if (!input.has_shape) return Status::error(Code::invalid_argument, "graph input '%.100s' has no shape: give it", name);
    for (const Dim& dim : input.dims) {
      if (dim.size < 0)
        return Status::error(Code::invalid_argument, "graph input '%.100s' has a dynamic dimension '%.50s': give its shape", name,
                             dim.symbol.c_str());
      type.shape.push_back(dim.size);
    }
  }
  if (type.shape.size() > size_t(ops::kMaxRank))
    return Status::error(Code::unsupported, "graph input '%.100s' has %zu dimensions", name, type.shape.size());
  if (const auto count = element_count(type.shape, type.dtype); !count)
    return Status::error(count.status().code(), "graph input '%.100s': %s", name, count.status().text());
  return type;
}

Expected<std::vector<Tensor>> evaluate(const ops::OpInfo& op, const Node& node, int64_t opset,
                                       const std::vector<const Tensor*>& inputs, const std::vector<TypeShape>& types) {
  std::vector<ops::View> in, out;
  for (const Tensor* tensor : inputs)
    in.push_back(tensor ? view_of({tensor->dtype(), tensor->shape()}, const_cast<void*>(tensor->data())) : ops::View{});
  std::vector<Tensor> results;
  for (const TypeShape& type : types) {
    Expected<Tensor> tensor = Tensor::create(type.dtype, type.shape);
    if (!tensor)
      return Status::error(tensor.status().code(), "%.40s '%.100s': %s", node.op_type.c_str(), node.name.c_str(),
                           tensor.status().text());
    results.push_back(*std::move(tensor));
  }
  for (size_t i = 0; i < types.size(); ++i) out.push_back(view_of(types[i], results[i].mutable_data()));
  // Every table gives the same bits, so the one that runs anywhere will do.
  ops::EvalContext ctx{node, opset, eltwise(Isa::scalar), in, out};
  std::vector<std::max_align_t> scratch(op.scratch ? op.scratch(ctx) / sizeof(std::max_align_t) + 1 : 0);
  ctx.scratch = scratch.data();
  if (Status status = op.eval(ctx); !status.ok()) return status;
  return results;
}

Propagation::Propagation(const Graph& graph) : opset_(graph.opset) {
  for (const auto& [name, tensor] : graph.initializers) set_constant(name, tensor);
}

void Propagation::set_inputs(const Graph& graph, int64_t open) {
  for (const ValueInfo& input : graph.inputs) {
    if (!input.has_shape || constant(input.name)) continue;
    TypeShape type{input.dtype, {}};
    for (const Dim& d : input.dims) type.shape.push_back(d.size < 0 ? open : d.size);
    set_type(input.name, std::move(type));
  }
}

void Propagation::set_constant(const std::string& value, const Tensor& tensor) {
  types_[value] = {tensor.dtype(), tensor.shape()};
  constants_[value] = tensor;
}

const TypeShape* Propagation::type(const std::string& value) const {
  const auto it = types_.find(value);
  return it == types_.end() ? nullptr : &it->second;
}

const Tensor* Propagation::constant(const std::string& value) const {
  const auto it = constants_.find(value);
  return it == constants_.end() ? nullptr : &it->second;
}

Status Propagation::visit(const Node& node) {
  const ops::OpInfo* op = ops::find(node.op_type, node.domain);
  if (!op)
    return Status::error(Code::unsupported, "%.40s '%.100s': operator %s%s%.100s is not supported", node.op_type.c_str(),
                         node.name.c_str(), node.domain.c_str(), node.domain.empty() ? "" : "::", node.op_type.c_str());
  std::vector<const TypeShape*> types;
  std::vector<const Tensor*> constants;
  bool known = true, small = true;
  for (const std::string& input : node.inputs) {
    types.push_back(input.empty() ? nullptr : type(input));
    constants.push_back(input.empty() ? nullptr : constant(input));
    if (!input.empty() && !types.back())
      return Status::error(Code::invalid_argument, "%.40s '%.100s': the shape of its input '%.100s' is not known",
                           node.op_type.c_str(), node.name.c_str(), input.c_str());
    known = known && (input.empty() || constants.back());
    small = small && (!constants.back() || constants.back()->bytes() <= kMaxConstantBytes);
  }
  Expected<std::vector<TypeShape>> outputs = ops::infer(*op, {node, opset_, types, constants});
  if (!outputs) return outputs.status();
  for (size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) types_[node.outputs[i]] = (*outputs)[i];

  if (reads_only_shapes(node)) {
    const ops::View in = view_of(*types[0], nullptr);
    Expected<Tensor> value = Tensor::create((*outputs)[0].dtype, (*outputs)[0].shape);
    if (!value) return value.status();
    const ops::View out = view_of((*outputs)[0], value->mutable_data());
    Status status = op->eval({node, opset_, eltwise(Isa::scalar), {&in, 1}, {&out, 1}});
    if (status.ok() && !node.outputs.empty()) constants_[node.outputs[0]] = *std::move(value);
    return status;
  }
  for (const TypeShape& output : *outputs) {
    const auto count = element_count(output.shape, output.dtype);
    small = small && count && uint64_t(*count) * size_of(output.dtype) <= kMaxConstantBytes;
  }
  if (!op->eval || !known || !small) return {};
  Expected<std::vector<Tensor>> values = evaluate(*op, node, opset_, constants, *outputs);
  if (!values) return values.status();
  for (size_t i = 0; i < node.outputs.size(); ++i)
    if (!node.outputs[i].empty()) constants_[node.outputs[i]] = (*values)[i];
  return {};
}

Expected<ShapeMap> infer_shapes(const Graph& graph, const std::map<std::string, Shape>& input_shapes) try {
  if (!graph.status.ok() || std::none_of(graph.nodes.begin(), graph.nodes.end(), is_control)) return infer_plain(graph, input_shapes);
  Graph inlined = graph;
  int64_t budget = kMaxUnrolled;
  inline_control(inlined, input_shapes, budget);
  return infer_plain(inlined, input_shapes);
} catch (const std::bad_alloc&) {
  return Status::error(Code::out_of_memory, "no memory for shape inference");
}

Expected<ShapeMap> infer_plain(const Graph& graph, const std::map<std::string, Shape>& input_shapes) {
  if (!graph.status.ok()) return graph.status;
  try {
    Propagation values(graph);
    for (const auto& [name, shape] : input_shapes) {
      bool found = false;
      for (const ValueInfo& input : graph.inputs) found = found || input.name == name;
      if (!found) return Status::error(Code::invalid_argument, "the graph has no input '%.100s'", name.c_str());
    }
    for (const ValueInfo& input : graph.inputs) {
      Expected<TypeShape> type = input_shape(input, input_shapes);
      if (!type) return type.status();
      values.set_type(input.name, *std::move(type));
    }
    for (const Node& node : graph.nodes)
      if (Status status = values.visit(node); !status.ok()) return status;
    return values.take_types();
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "no memory for shape inference");
  }
}

}  // namespace octavo
