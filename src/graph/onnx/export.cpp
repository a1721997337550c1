// Graph -> ModelProto.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>
#include <unordered_set>

#include "control.h"
#include "onnx/proto.h"

namespace octavo {
namespace {

// The oldest IR version that knows the opset.
int64_t ir_version_for(int64_t opset) {
  if (opset >= 23) return opset - 12;
  return opset >= 21 ? 10 : opset >= 19 ? 9 : 8;
}

void export_value(const ValueInfo& value, onnx::ValueInfoProto& target) {
  target.set_name(value.name);
  if (!value.has_type) return;
  auto* type = target.mutable_type()->mutable_tensor_type();
  type->set_elem_type(proto::onnx_type(value.dtype));
  if (!value.has_shape) return;
  auto* shape = type->mutable_shape();
  for (const Dim& dim : value.dims) {
    auto* d = shape->add_dim();
    if (dim.size >= 0) {
      d->set_dim_value(dim.size);
    } else if (!dim.symbol.empty()) {
      d->set_dim_param(dim.symbol);
    }
  }
}

struct AttributeWriter {
  onnx::AttributeProto& target;
  void operator()(int64_t value) const {
    target.set_type(onnx::AttributeProto::INT);
    target.set_i(value);
  }
  void operator()(float value) const {
    target.set_type(onnx::AttributeProto::FLOAT);
    target.set_f(value);
  }
  void operator()(const std::string& value) const {
    target.set_type(onnx::AttributeProto::STRING);
    target.set_s(value);
  }
  void operator()(const std::vector<int64_t>& values) const {
    target.set_type(onnx::AttributeProto::INTS);
    for (const int64_t value : values) target.add_ints(value);
  }
  void operator()(const std::vector<float>& values) const {
    target.set_type(onnx::AttributeProto::FLOATS);
    for (const float value : values) target.add_floats(value);
  }
  void operator()(const std::vector<std::string>& values) const {
    target.set_type(onnx::AttributeProto::STRINGS);
    for (const std::string& value : values) target.add_strings(value);
  }
  void operator()(const Tensor& tensor) const {
    target.set_type(onnx::AttributeProto::TENSOR);
    proto::export_tensor(tensor, "", *target.mutable_t());
  }
  void operator()(const Subgraph&) const { target.set_type(onnx::AttributeProto::GRAPH); }  // see GraphWriter
};

// Writes a graph and those inside it, which name what they capture as the graph around them does.
class GraphWriter {
 public:
  void write(const Graph& graph, onnx::GraphProto& target) { write(graph, target, {}); }

 private:
  using Names = std::unordered_map<std::string, std::string>;  // in the graph -> in the file, where these differ

  static const std::string& in_file(const Names& names, const std::string& value) {
    const auto it = names.find(value);
    return it == names.end() ? value : it->second;
  }

  // A name that no graph around has. The graph's own names stay where they can.
  std::string unique(const std::string& value, const Graph& graph) {
    const auto is_outer = [&](const std::string& name) {
      return std::any_of(scopes_.begin(), scopes_.end(), [&](const auto& scope) { return scope.count(name) != 0; });
    };
    if (!is_outer(value)) return value;
    std::unordered_set<std::string> own;
    for (const ValueInfo& input : graph.inputs) own.insert(input.name);
    for (const Node& node : graph.nodes) own.insert(node.outputs.begin(), node.outputs.end());
    std::string name = value + "_inside";
    while (is_outer(name) || own.count(name) || graph.initializers.count(name) || taken_.count(name)) name += "_";
    taken_.insert(name);
    return name;
  }

  void write(const Graph& graph, onnx::GraphProto& target, Names names) {
    std::unordered_set<std::string> scope;
    const auto define = [&](const std::string& value) {
      if (value.empty()) return;
      std::string name = unique(value, graph);
      scope.insert(name);
      if (name != value) names[value] = std::move(name);
    };
    const size_t own_inputs = graph.inputs.size() - std::min(graph.captures, graph.inputs.size());
    // Sorted, so that one graph always gives the same bytes.
    std::vector<const std::string*> constants;
    for (const auto& [name, tensor] : graph.initializers) constants.push_back(&name);
    std::sort(constants.begin(), constants.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
    for (size_t i = 0; i < own_inputs; ++i) define(graph.inputs[i].name);
    for (const std::string* name : constants) define(*name);
    for (const Node& node : graph.nodes)
      for (const std::string& output : node.outputs) define(output);
    scopes_.push_back(std::move(scope));

    target.set_name(graph.name.empty() ? "graph" : graph.name);
    const auto write_value = [&](const ValueInfo& value, onnx::ValueInfoProto& proto) {
      export_value(value, proto);
      proto.set_name(in_file(names, value.name));
    };
    for (size_t i = 0; i < own_inputs; ++i) write_value(graph.inputs[i], *target.add_input());
    for (const ValueInfo& output : graph.outputs) write_value(output, *target.add_output());
    for (const Node& node : graph.nodes) write(node, names, *target.add_node());
    for (const std::string* name : constants)
      proto::export_tensor(graph.initializers.at(*name), in_file(names, *name), *target.add_initializer());
    scopes_.pop_back();
  }

  void write(const Node& node, const Names& names, onnx::NodeProto& target) {
    target.set_name(node.name);
    target.set_op_type(node.op_type);
    if (!node.domain.empty()) target.set_domain(node.domain);
    size_t captures = 0;
    for (const auto& [name, value] : node.attributes) {
      onnx::AttributeProto& attribute = *target.add_attribute();
      attribute.set_name(name);
      std::visit(AttributeWriter{attribute}, value);
      const Subgraph* inner = std::get_if<Subgraph>(&value);
      if (!inner || !*inner) continue;
      captures = std::min((*inner)->captures, node.inputs.size());
      Names inside;
      for (size_t i = 1; i <= captures && i <= (*inner)->inputs.size(); ++i)
        inside[(*inner)->inputs[(*inner)->inputs.size() - i].name] = in_file(names, node.inputs[node.inputs.size() - i]);
      write(**inner, *attribute.mutable_g(), std::move(inside));
    }
    for (size_t i = 0; i + captures < node.inputs.size(); ++i) target.add_input(in_file(names, node.inputs[i]));
    for (const std::string& output : node.outputs) target.add_output(in_file(names, output));
  }

  std::vector<std::unordered_set<std::string>> scopes_;  // names in the file, of the graph being written and those around it
  std::unordered_set<std::string> taken_;                // by unique()
};

// Bytes of all constants, of subgraphs too.
size_t constant_bytes(const Graph& graph) {
  size_t bytes = 0;
  for (const auto& [name, tensor] : graph.initializers) bytes += tensor.bytes();
  for (const Node& node : graph.nodes)
    for (const auto& [name, attribute] : node.attributes)
      if (const Subgraph* inner = std::get_if<Subgraph>(&attribute); inner && *inner) bytes += constant_bytes(**inner);
  return bytes;
}

Expected<std::string> serialize(const Graph& graph) {
  const size_t bytes = constant_bytes(graph);
  if (bytes > size_t(std::numeric_limits<int>::max()))
    return Status::error(Code::overflow, "the model's constants have %zu bytes: a protobuf file holds at most 2 GiB", bytes);

  onnx::ModelProto model;
  model.set_ir_version(ir_version_for(graph.opset));
  model.set_producer_name("octavo");
  model.add_opset_import()->set_version(graph.opset);
  for (const auto& [domain, version] : graph.other_opsets) {
    auto* opset = model.add_opset_import();
    opset->set_domain(domain);
    opset->set_version(version);
  }
  for (const auto& [key, value] : graph.metadata) {
    auto* entry = model.add_metadata_props();
    entry->set_key(key);
    entry->set_value(value);
  }
  GraphWriter().write(graph, *model.mutable_graph());

  std::string text;
  if (model.ByteSizeLong() > size_t(std::numeric_limits<int>::max()) || !model.SerializeToString(&text))
    return Status::error(Code::overflow, "the model is larger than the 2 GiB that a protobuf file holds");
  return text;
}

bool write_all(int fd, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += size_t(n);
  }
  return true;
}

}  // namespace

Expected<std::string> serialize_onnx(const Graph& graph) {
  if (!graph.status.ok()) return graph.status;
  try {
    return serialize(graph);
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "no memory to write the model");
  }
}

Status save_onnx(const Graph& graph, const std::string& path) {
  const Expected<std::string> bytes = serialize_onnx(graph);
  if (!bytes) return bytes.status();
  const std::string temporary = path + "." + std::to_string(getpid()) + ".tmp";
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd < 0) return Status::error(Code::io, "'%.250s' cannot be written: %s", path.c_str(), std::strerror(errno));
  const bool written = write_all(fd, *bytes);
  const bool closed = close(fd) == 0;
  if (written && closed && std::rename(temporary.c_str(), path.c_str()) == 0) return {};
  const int error = errno;
  unlink(temporary.c_str());
  return Status::error(Code::io, "'%.250s' cannot be written: %s", path.c_str(), std::strerror(error));
}

}  // namespace octavo
