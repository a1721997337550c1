#include <algorithm>
#include <new>
#include <unordered_set>

#include "control.h"
#include "ops.h"
#include "shape.h"

namespace octavo {
namespace {

// Kept even where its input is a constant: it says that the constant is quantized.
bool must_stay(const Node& node) { return node.op_type == "DequantizeLinear" && node.domain.empty(); }

class ConstantFolder {
 public:
  ConstantFolder(Graph& graph, size_t budget) : graph_(graph), budget_(budget), values_(graph) {
    for (const ValueInfo& output : graph.outputs) graph_outputs_.insert(output.name);
    for (const ValueInfo& input : graph.inputs) graph_inputs_.insert(input.name);
    used_ = graph_outputs_;
    for (const Node& node : graph.nodes) used_.insert(node.inputs.begin(), node.inputs.end());
  }

  Status run(const std::map<std::string, Shape>& input_shapes) {
    for (const ValueInfo& input : graph_.inputs) {
      Expected<TypeShape> type = input_shape(input, input_shapes);
      if (type) values_.set_type(input.name, *std::move(type));
      else if (input_shapes.count(input.name)) return type.status();
    }
    std::vector<Node> kept;
    for (Node& node : graph_.nodes) {
      for (std::string& input : node.inputs)
        if (const auto it = aliases_.find(input); it != aliases_.end()) input = it->second;
      become_leaky(node);
      // Shapes may be unknown here (dynamic inputs, foreign operators): such nodes simply stay.
      const bool typed = values_.visit(node).ok();
      if (typed) transpose_quantized(node);
      if (must_stay(node) && !node.inputs.empty() && !node.outputs.empty()) dequantized_[node.outputs[0]] = node;
      if ((typed && to_initializers(node)) || vanishes(node, typed)) continue;
      kept.push_back(std::move(node));
    }
    for (Node& node : kept) {
      rename(node.inputs);
      rename(node.outputs);
    }
    graph_.nodes = std::move(kept);
    remove_dead(graph_);
    return {};
  }

 private:
  bool is_graph_output(const Node& node) const {
    return std::any_of(node.outputs.begin(), node.outputs.end(), [&](const std::string& o) { return graph_outputs_.count(o) != 0; });
  }

  bool to_initializers(const Node& node) {
    if (must_stay(node) || is_graph_output(node)) return false;
    // A value may be known and yet be no constant of the graph: what comes from a DequantizeLinear that must stay.
    std::vector<const Tensor*> inputs;
    bool constant = true;
    for (const std::string& input : node.inputs) {
      const auto it = graph_.initializers.find(input);
      inputs.push_back(it == graph_.initializers.end() ? nullptr : &it->second);
      constant = constant && (input.empty() || inputs.back());
    }
    if (!constant && !reads_only_shapes(node)) return false;
    std::vector<TypeShape> types;
    std::vector<Tensor> results;
    size_t bytes = 0;
    for (const std::string& output : node.outputs) {
      if (output.empty()) return false;
      types.push_back(*values_.type(output));
      bytes += size_t(*element_count(types.back().shape, types.back().dtype)) * size_of(types.back().dtype);
      if (const Tensor* value = values_.constant(output)) results.push_back(*value);
    }
    if (bytes > budget_) return false;
    if (results.size() < types.size()) {
      const ops::OpInfo* op = ops::find(node.op_type, node.domain);
      if (!op->eval) return false;
      Expected<std::vector<Tensor>> computed = evaluate(*op, node, graph_.opset, inputs, types);
      if (!computed) return false;  // compile() will say why
      results = *std::move(computed);
    }
    budget_ -= bytes;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      values_.set_constant(node.outputs[i], results[i]);
      graph_.initializers[node.outputs[i]] = std::move(results[i]);
    }
    return true;
  }

  // Transpose of a quantized constant, as PyTorch exports the weights of a linear: the constant itself is transposed, so that its
  // DequantizeLinear stands in front of what reads it.
  void transpose_quantized(Node& node) {
    if (node.op_type != "Transpose" || !node.domain.empty() || node.outputs.empty()) return;
    const auto found = dequantized_.find(node.inputs[0]);
    if (found == dequantized_.end() || found->second.get_int("block_size", 0) != 0) return;
    Node dq = found->second;
    const auto q = graph_.initializers.find(dq.inputs[0]);
    if (q == graph_.initializers.end() || q->second.bytes() > budget_) return;
    const int64_t rank = int64_t(q->second.shape().size());
    const std::vector<int64_t> perm = node.get_ints("perm");
    const TypeShape type = {q->second.dtype(), values_.type(node.outputs[0])->shape};
    Expected<std::vector<Tensor>> turned =
        evaluate(*ops::find("Transpose", ""), node, graph_.opset, {&q->second}, {type});
    if (!turned) return;
    budget_ -= q->second.bytes();
    int64_t axis = dq.get_int("axis", 1), moved = 0;
    axis += axis < 0 ? rank : 0;
    while (moved + 1 < rank && (perm.empty() ? rank - 1 - moved : perm[size_t(moved)]) != axis) ++moved;
    if (graph_.opset >= 13) dq.attributes["axis"] = moved;  // before there was none
    dq.inputs[0] += "_transposed";
    while (values_.type(dq.inputs[0])) dq.inputs[0] += "_";
    values_.set_constant(dq.inputs[0], turned->front());
    graph_.initializers[dq.inputs[0]] = std::move(turned->front());
    dq.name = node.name;
    dq.outputs = node.outputs;
    node = std::move(dq);
  }

  // A PRelu whose slope is one constant.
  void become_leaky(Node& node) const {
    if (node.op_type != "PRelu" || !node.domain.empty() || node.inputs.size() != 2) return;
    const auto slope = graph_.initializers.find(node.inputs[1]);
    if (slope == graph_.initializers.end() || slope->second.dtype() != DType::f32 || slope->second.count() != 1) return;
    node.op_type = "LeakyRelu";
    node.attributes = {{"alpha", *slope->second.as<float>()}};
    node.inputs.pop_back();
  }

  // A Dropout with a training_mode that is true, or not known.
  bool trains(const Node& node) const {
    if (node.inputs.size() < 3 || node.inputs[2].empty()) return false;
    const Tensor* training = values_.constant(node.inputs[2]);
    return !training || training->dtype() != DType::boolean || training->count() != 1 || training->as<uint8_t>()[0] != 0;
  }

  // Nodes whose first output is their first input: later nodes read the input instead.
  bool vanishes(const Node& node, bool typed) {
    if (!node.domain.empty() || node.inputs.empty() || node.outputs.empty()) return false;
    const std::string &in = node.inputs[0], &out = node.outputs[0];
    for (size_t i = 1; i < node.outputs.size(); ++i)
      if (!node.outputs[i].empty() && used_.count(node.outputs[i])) return false;  // Dropout's mask
    // Operators that leave all elements as they are, where type and shape stay too.
    static constexpr std::string_view kKeeping[] = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "CastLike", "Expand"};
    const bool keeping = std::find(std::begin(kKeeping), std::end(kKeeping), node.op_type) != std::end(kKeeping);
    const bool copies = node.op_type == "Identity" || (node.op_type == "Dropout" && !trains(node)) ||
                        (keeping && typed && values_.type(in)->shape == values_.type(out)->shape &&
                         values_.type(in)->dtype == values_.type(out)->dtype);
    if (!copies || in.empty()) return false;
    if (!graph_outputs_.count(out)) {
      aliases_[out] = in;
      return true;
    }
    // The output's name must stay: it becomes the name of the input, if that is an inner value.
    if (graph_inputs_.count(in) || graph_.initializers.count(in) || graph_outputs_.count(in) || renames_.count(in)) return false;
    renames_[in] = out;
    return true;
  }

  void rename(std::vector<std::string>& names) const {
    for (std::string& name : names)
      if (const auto it = renames_.find(name); it != renames_.end()) name = it->second;
  }

  Graph& graph_;
  size_t budget_;
  Propagation values_;
  std::unordered_set<std::string> graph_inputs_, graph_outputs_, used_;
  std::unordered_map<std::string, Node> dequantized_;  // by value: the DequantizeLinear that computes it
  std::unordered_map<std::string, std::string> aliases_;  // vanished value -> the value it equals
  std::unordered_map<std::string, std::string> renames_;  // inner value -> graph output it equals
};

}  // namespace

Status fold_constants(Graph& graph, const std::map<std::string, Shape>& input_shapes, size_t max_bytes) {
  int64_t budget = kMaxUnrolled;
  return fold_constants(graph, input_shapes, max_bytes, budget);
}

Status fold_constants(Graph& graph, const std::map<std::string, Shape>& input_shapes, size_t max_bytes, int64_t& budget) {
  try {
    inline_control(graph, input_shapes, budget);
    return ConstantFolder(graph, max_bytes).run(input_shapes);
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "no memory to fold constants");
  }
}

}  // namespace octavo
