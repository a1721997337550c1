#include "split_directions.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

namespace octavo {
namespace {

constexpr size_t kWeights[] = {1, 2, 3};         // W, R, B: first axis = direction
constexpr size_t kStates[] = {5, 6}, kPeepholes = 7;

bool is_zero(const Tensor& t) {
  return t.dtype() == DType::f32 && std::all_of(t.as<float>(), t.as<float>() + t.count(), [](float x) { return x == 0; });
}

class Splitter {
 public:
  explicit Splitter(Graph& graph) : graph_(graph) {
    for (const auto& [name, tensor] : graph.initializers) names_.insert(name);
    for (const ValueInfo& input : graph.inputs) names_.insert(input.name);
    for (const ValueInfo& output : graph.outputs) read_.insert(output.name);
    for (const Node& node : graph.nodes) {
      names_.insert(node.name);
      names_.insert(node.outputs.begin(), node.outputs.end());
      read_.insert(node.inputs.begin(), node.inputs.end());
      for (const std::string& output : node.outputs) producers_[output] = node;
    }
  }

  void run() {
    std::vector<Node> old = std::move(graph_.nodes);
    graph_.nodes.clear();
    for (Node& node : old) {
      const bool recurrent = node.domain.empty() && (node.op_type == "LSTM" || node.op_type == "GRU");
      if (recurrent) leave_out_zeros(node);
      if (!recurrent || !splits(node)) {
        add(std::move(node), recurrent);
        continue;
      }
      const Node halves[] = {half(node, 0), half(node, 1)};
      for (const Node& h : halves) add(h, true);
      for (size_t i = 0; i < node.outputs.size(); ++i)
        if (is_read(node, i)) join(node, i, halves);
    }
  }

 private:
  // The last state of one direction is the row of Y that was computed last; for the cell of an LSTM there is none.
  void add(Node node, bool recurrent) {
    const std::string direction = node.get_string("direction", "forward");
    const bool reads_state = recurrent && is_read(node, 1);
    if (!reads_state || direction == "bidirectional" || node.get_int("layout", 0) != 0 || !absent(node, 4)) {
      graph_.nodes.push_back(std::move(node));
      return;
    }
    Node last;
    last.op_type = "Gather";
    last.name = unique(node.name + "_last");
    if (node.outputs[0].empty()) node.outputs[0] = unique(node.name + "_steps");
    const std::vector<int64_t> step = {direction == "reverse" ? 0 : -1};
    const std::string index = graph_.add_initializer(unique(node.name + "_last_step"), Tensor::from(DType::s64, {}, step));
    last.inputs = {node.outputs[0], index};
    last.outputs = {node.outputs[1]};
    node.outputs[1].clear();
    if (!is_read(node, 2)) node.outputs.resize(1);
    graph_.nodes.push_back(std::move(node));
    graph_.nodes.push_back(std::move(last));
  }

  static bool absent(const Node& node, size_t input) { return input >= node.inputs.size() || node.inputs[input].empty(); }

  const Tensor* constant(const std::string& name) const {
    const auto it = graph_.initializers.find(name);
    return it == graph_.initializers.end() ? nullptr : &it->second;
  }

  bool is_read(const Node& node, size_t output) const {
    return output < node.outputs.size() && !node.outputs[output].empty() && read_.count(node.outputs[output]) != 0;
  }

  // Whatever the shape: through operators that move elements.
  bool are_zeros(const std::string& value, int depth = 0) const {
    constexpr int kMaxDepth = 8;
    static constexpr std::string_view kMoving[] = {"Expand",  "Slice",     "Reshape", "Transpose",
                                                   "Squeeze", "Unsqueeze", "Tile",    "Gather"};
    if (const Tensor* t = constant(value)) return is_zero(*t);
    const auto it = producers_.find(value);
    if (it == producers_.end() || !it->second.domain.empty() || depth == kMaxDepth) return false;
    const Node& node = it->second;
    if (std::find(std::begin(kMoving), std::end(kMoving), node.op_type) != std::end(kMoving) && !node.inputs.empty())
      return are_zeros(node.inputs[0], depth + 1);
    if (node.op_type != "ConstantOfShape") return false;
    const auto fill = node.attributes.find("value");
    const Tensor* t = fill == node.attributes.end() ? nullptr : std::get_if<Tensor>(&fill->second);
    return fill == node.attributes.end() || (t && is_zero(*t));
  }

  void leave_out_zeros(Node& node) const {
    for (const size_t i : kStates)
      if (!absent(node, i) && are_zeros(node.inputs[i])) node.inputs[i].clear();
    while (!node.inputs.empty() && node.inputs.back().empty()) node.inputs.pop_back();
  }

  bool splits(const Node& node) const {
    if (node.get_string("direction", "forward") != "bidirectional" || node.get_int("layout", 0) != 0) return false;
    if (node.has("activations") || node.has("activation_alpha") || node.has("activation_beta")) return false;
    if (!absent(node, kPeepholes)) return false;
    return !absent(node, 1) && !absent(node, 2) && std::all_of(std::begin(kWeights), std::end(kWeights), [&](size_t i) {
      const Tensor* w = absent(node, i) ? nullptr : constant(node.inputs[i]);
      return absent(node, i) || (w && w->dtype() == DType::f32 && !w->shape().empty() && w->shape()[0] == 2);
    });
  }

  Node half(const Node& node, size_t direction) {
    Node h = node;
    h.name = unique(node.name + (direction == 0 ? "_forward" : "_reverse"));
    h.attributes["direction"] = std::string(direction == 0 ? "forward" : "reverse");
    for (const size_t i : kWeights) {
      if (absent(node, i)) continue;
      const Tensor& both = graph_.initializers.at(node.inputs[i]);
      Shape shape = both.shape();
      shape[0] = 1;
      const float* first = both.as<float>() + both.count() / 2 * int64_t(direction);
      const std::string name = unique(node.inputs[i] + (direction == 0 ? "_forward" : "_reverse"));
      const std::vector<float> values(first, first + both.count() / 2);
      h.inputs[i] = graph_.add_initializer(name, Tensor::from(DType::f32, shape, values));
    }
    for (const size_t i : kStates)
      if (!absent(node, i)) h.inputs[i] = part(node.inputs[i], direction);
    for (size_t i = 0; i < h.outputs.size(); ++i)
      if (is_read(node, i)) read_.insert(h.outputs[i] = unique(node.outputs[i] + (direction == 0 ? "_forward" : "_reverse")));
      else h.outputs[i].clear();
    return h;
  }

  // A state is [directions, batch, hidden].
  std::string part(const std::string& states, size_t direction) {
    const std::string name = unique(states + (direction == 0 ? "_forward" : "_reverse"));
    const std::vector<int64_t> at = {int64_t(direction)};
    const std::string index = graph_.add_initializer(unique(name + "_index"), Tensor::from(DType::s64, {1}, at));
    read_.insert(name);
    return graph_.add_node("Gather", name, {states, index}, {{"axis", int64_t{0}}});
  }

  // Y is [steps, directions, batch, hidden], the last states [directions, batch, hidden].
  void join(const Node& node, size_t output, const Node (&halves)[2]) {
    Node concat;
    concat.op_type = "Concat";
    concat.name = output == 0 ? node.name : unique(node.name + "_states");
    concat.inputs = {halves[0].outputs[output], halves[1].outputs[output]};
    concat.outputs = {node.outputs[output]};
    concat.attributes["axis"] = int64_t(output == 0 ? 1 : 0);
    graph_.nodes.push_back(std::move(concat));
  }

  std::string unique(std::string name) {
    while (!names_.insert(name).second) name += "_";
    return name;
  }

  Graph& graph_;
  std::unordered_set<std::string> names_, read_;
  std::unordered_map<std::string, Node> producers_;
};

}  // namespace

void split_directions(Graph& graph) {
  if (std::any_of(graph.nodes.begin(), graph.nodes.end(), [](const Node& n) { return n.op_type == "LSTM" || n.op_type == "GRU"; }))
    Splitter(graph).run();
}

}  // namespace octavo
