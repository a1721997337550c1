// Graph -> ModelProto.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <new>

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
};

void export_node(const Node& node, onnx::NodeProto& target) {
  target.set_name(node.name);
  target.set_op_type(node.op_type);
  if (!node.domain.empty()) target.set_domain(node.domain);
  for (const std::string& input : node.inputs) target.add_input(input);
  for (const std::string& output : node.outputs) target.add_output(output);
  for (const auto& [name, value] : node.attributes) {
    onnx::AttributeProto& attribute = *target.add_attribute();
    attribute.set_name(name);
    std::visit(AttributeWriter{attribute}, value);
  }
}

Expected<std::string> serialize(const Graph& graph) {
  size_t bytes = 0;
  for (const auto& [name, tensor] : graph.initializers) bytes += tensor.bytes();
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
  onnx::GraphProto& target = *model.mutable_graph();
  target.set_name(graph.name.empty() ? "graph" : graph.name);
  for (const ValueInfo& input : graph.inputs) export_value(input, *target.add_input());
  for (const ValueInfo& output : graph.outputs) export_value(output, *target.add_output());
  for (const Node& node : graph.nodes) export_node(node, *target.add_node());
  // Sorted, so that one graph always gives the same bytes.
  std::vector<const std::string*> names;
  for (const auto& [name, tensor] : graph.initializers) names.push_back(&name);
  std::sort(names.begin(), names.end(), [](const std::string* a, const std::string* b) { return *a < *b; });
  for (const std::string* name : names) proto::export_tensor(graph.initializers.at(*name), *name, *target.add_initializer());

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
