#include "octavo/graph.h"

#include <algorithm>
#include <limits>
#include <new>
#include <unordered_set>
#include <utility>

namespace octavo {
namespace {

template <class T>
const T* find_attribute(const Node& node, const char* name) {
  const auto it = node.attributes.find(name);
  return it == node.attributes.end() ? nullptr : std::get_if<T>(&it->second);
}

}  // namespace

Expected<int64_t> element_count(const Shape& shape, DType dtype) noexcept {
  // A zero makes the product zero, but hides nothing: whoever multiplies only some of the dimensions shall not overflow either.
  int64_t count = int64_t(size_of(dtype));
  bool empty = false, too_large = false;
  for (const int64_t dim : shape) {
    if (dim < 0) return Status::error(Code::overflow, "negative dimension %lld", static_cast<long long>(dim));
    if (dim == 0) {
      empty = true;
    } else if (count > std::numeric_limits<int64_t>::max() / dim) {
      too_large = true;
    } else {
      count *= dim;
    }
  }
  if (too_large) return Status::error(Code::overflow, "the bytes of a tensor of %zu dimensions do not fit int64", shape.size());
  return empty ? 0 : count / int64_t(size_of(dtype));
}

std::string to_string(const Shape& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text.append(i ? "," : "").append(std::to_string(shape[i]));
  return text + "]";
}

Expected<Tensor> Tensor::create(DType dtype, Shape shape) noexcept {
  const Expected<int64_t> count = element_count(shape, dtype);
  if (!count) return count.status();
  const size_t bytes = size_t(*count) * size_of(dtype);
  try {
    Tensor tensor;
    tensor.dtype_ = dtype;
    tensor.shape_ = std::move(shape);
    tensor.count_ = *count;
    tensor.data_ = std::make_shared<std::vector<std::byte>>(bytes);
    return tensor;
  } catch (const std::exception&) {  // bad_alloc, or length_error beyond vector's own limit
    return Status::error(Code::out_of_memory, "no memory for a tensor of %zu bytes", bytes);
  }
}

void* Tensor::mutable_data() {
  if (!data_) return nullptr;
  if (data_.use_count() > 1) data_ = std::make_shared<std::vector<std::byte>>(*data_);
  return data_->data();
}

Tensor Tensor::reshaped(Shape shape) const {
  Tensor tensor = *this;
  tensor.shape_ = std::move(shape);
  return tensor;
}

int64_t Node::get_int(const char* key, int64_t fallback) const {
  const int64_t* value = find_attribute<int64_t>(*this, key);
  return value ? *value : fallback;
}

float Node::get_float(const char* key, float fallback) const {
  const float* value = find_attribute<float>(*this, key);
  return value ? *value : fallback;
}

std::string Node::get_string(const char* key, const char* fallback) const {
  const std::string* value = find_attribute<std::string>(*this, key);
  return value ? *value : std::string(fallback);
}

std::vector<int64_t> Node::get_ints(const char* key, std::vector<int64_t> fallback) const {
  const auto* value = find_attribute<std::vector<int64_t>>(*this, key);
  return value ? *value : std::move(fallback);
}

const std::string& Graph::add_initializer(std::string value, Tensor tensor) noexcept try {
  const auto [it, inserted] = initializers.insert_or_assign(std::move(value), std::move(tensor));
  return it->first;
} catch (const std::bad_alloc&) {
  static const std::string none;
  status = Status::error(Code::out_of_memory, "no memory for an initializer");
  return none;
}

std::string Graph::add_node(std::string op_type, std::string node_name, std::vector<std::string> node_inputs,
                            std::map<std::string, Attribute> attributes) noexcept try {
  std::string output = node_name;
  Node node;
  node.op_type = std::move(op_type);
  node.outputs = {node_name};
  node.name = std::move(node_name);
  node.inputs = std::move(node_inputs);
  node.attributes = std::move(attributes);
  nodes.push_back(std::move(node));
  return output;
} catch (const std::bad_alloc&) {
  status = Status::error(Code::out_of_memory, "no memory for a node");
  return {};
}

Status sort_topologically(Graph& graph) {
  if (!graph.status.ok()) return graph.status;
  constexpr size_t kNoNode = std::numeric_limits<size_t>::max();
  std::unordered_map<std::string, size_t> producer;  // kNoNode: a graph input or an initializer
  for (const auto& [name, tensor] : graph.initializers) producer.emplace(name, kNoNode);
  for (const ValueInfo& input : graph.inputs)
    if (!producer.emplace(input.name, kNoNode).second)
      return Status::error(Code::invalid_argument, "graph input '%.100s' is defined twice", input.name.c_str());
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (const std::string& output : node.outputs) {
      if (output.empty() || producer.emplace(output, i).second) continue;
      return Status::error(Code::invalid_argument, "%.40s '%.100s': value '%.100s' is produced twice", node.op_type.c_str(),
                           node.name.c_str(), output.c_str());
    }
  }

  // Kahn's algorithm with a heap of ready nodes: the order of the file is kept wherever it is already right.
  std::vector<std::vector<size_t>> consumers(graph.nodes.size());
  std::vector<size_t> missing(graph.nodes.size(), 0);
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    for (const std::string& input : node.inputs) {
      if (input.empty()) continue;
      const auto it = producer.find(input);
      if (it == producer.end())
        return Status::error(Code::invalid_argument, "%.40s '%.100s': nothing produces its input '%.100s'", node.op_type.c_str(),
                             node.name.c_str(), input.c_str());
      if (it->second == kNoNode) continue;
      consumers[it->second].push_back(i);
      ++missing[i];
    }
  }
  for (const ValueInfo& output : graph.outputs)
    if (!producer.count(output.name))
      return Status::error(Code::invalid_argument, "nothing produces the graph output '%.100s'", output.name.c_str());

  std::vector<size_t> ready, order;
  const auto later = std::greater<size_t>();
  for (size_t i = 0; i < missing.size(); ++i)
    if (missing[i] == 0) ready.push_back(i);  // ascending, hence a heap
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end(), later);
    const size_t i = ready.back();
    ready.pop_back();
    order.push_back(i);
    for (const size_t consumer : consumers[i]) {
      if (--missing[consumer] != 0) continue;
      ready.push_back(consumer);
      std::push_heap(ready.begin(), ready.end(), later);
    }
  }
  if (order.size() != graph.nodes.size()) {
    const size_t i = size_t(std::find_if(missing.begin(), missing.end(), [](size_t n) { return n != 0; }) - missing.begin());
    const Node& node = graph.nodes[i];
    return Status::error(Code::invalid_argument, "%.40s '%.100s' is on a cycle or behind one", node.op_type.c_str(),
                         node.name.c_str());
  }
  std::vector<Node> sorted;
  sorted.reserve(order.size());
  for (const size_t i : order) sorted.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(sorted);
  return {};
}

void remove_dead(Graph& graph) {
  std::unordered_set<std::string> needed;
  for (const ValueInfo& output : graph.outputs) needed.insert(output.name);
  std::vector<bool> live(graph.nodes.size(), false);
  for (size_t i = graph.nodes.size(); i-- > 0;) {  // sorted: consumers come first in this direction
    const Node& node = graph.nodes[i];
    live[i] = std::any_of(node.outputs.begin(), node.outputs.end(),
                          [&](const std::string& output) { return !output.empty() && needed.count(output) != 0; });
    if (live[i]) needed.insert(node.inputs.begin(), node.inputs.end());
  }
  size_t kept = 0;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    if (!live[i]) continue;
    if (kept != i) graph.nodes[kept] = std::move(graph.nodes[i]);
    ++kept;
  }
  graph.nodes.resize(kept);
  std::erase_if(graph.initializers, [&](const auto& item) { return needed.count(item.first) == 0; });
}

}  // namespace octavo
