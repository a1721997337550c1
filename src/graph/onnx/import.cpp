// ModelProto -> Graph. The file is untrusted; errors name the node or tensor.
#include <google/protobuf/io/zero_copy_stream_impl.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <new>
#include <unordered_set>

#include "control.h"
#include "convert_opset.h"
#include "onnx/contrib.h"
#include "onnx/expand_einsum.h"
#include "onnx/opset6.h"
#include "onnx/proto.h"

namespace octavo {
namespace {

constexpr int64_t kMinOpset = 6, kMaxOpset = 28;

class Importer {
 public:
  Importer(const OnnxLimits& limits, proto::ExternalData* external) : limits_(limits), external_(external) {}

  Expected<Graph> run(const onnx::ModelProto& model) {
    Status status = import_opsets(model);
    if (status.ok() && !model.has_graph()) status = Status::error(Code::invalid_argument, "not an ONNX model: it has no graph");
    if (status.ok() && model.functions_size() > 0)
      status = Status::error(Code::unsupported, "model-local function '%.100s' is not supported", model.functions(0).name().c_str());
    for (const auto& entry : model.metadata_props()) graph_.metadata[entry.key()] = entry.value();
    if (status.ok()) status = import_graph(model.graph(), graph_);
    if (status.ok() && graph_.opset < kMinOpset) status = check_old_operators();
    if (status.ok()) status = rewrite();
    if (!status.ok()) return status;
    return std::move(graph_);
  }

 private:
  Status import_opsets(const onnx::ModelProto& model) {
    bool found = false;
    for (const auto& opset : model.opset_import()) {
      if (opset.domain().empty() || opset.domain() == "ai.onnx") {
        found = true;
        graph_.opset = opset.version();
      } else {
        graph_.other_opsets[opset.domain()] = opset.version();
      }
    }
    if (!found && !graph_.other_opsets.empty() && model.graph().node_size() > 0) {
      const onnx::NodeProto& node = model.graph().node(0);
      return Status::error(Code::unsupported, "operator %.100s::%.100s is not supported", node.domain().c_str(),
                           node.op_type().c_str());
    }
    if (!found) return Status::error(Code::invalid_argument, "not an ONNX model: it imports no version of the ai.onnx operators");
    if (graph_.opset < 1 || graph_.opset > kMaxOpset)
      return Status::error(Code::unsupported, "opset %lld is not supported, only %lld to %lld", static_cast<long long>(graph_.opset),
                           static_cast<long long>(kMinOpset), static_cast<long long>(kMaxOpset));
    return {};
  }

  // Before opset 6 only operators that have meant the same from the start.
  Status check_old_operators() const {
    static constexpr std::string_view kUnchanged[] = {"Identity", "Not", "Shape", "Size", "Transpose"};
    for (const Node& node : graph_.nodes)
      if (std::find(std::begin(kUnchanged), std::end(kUnchanged), node.op_type) == std::end(kUnchanged))
        return Status::error(Code::unsupported, "opset %lld is not supported, only %lld to %lld, for %.40s '%.100s'",
                             static_cast<long long>(graph_.opset), static_cast<long long>(kMinOpset), static_cast<long long>(kMaxOpset),
                             node.op_type.c_str(), node.name.c_str());
    return {};
  }

  Status import_graph(const onnx::GraphProto& source, Graph& graph) {
    graph.name = source.name();
    nodes_ += size_t(source.node_size());
    if (nodes_ > limits_.max_nodes)
      return Status::error(Code::unsupported, "%zu nodes, more than the limit of %zu", nodes_, limits_.max_nodes);
    if (source.sparse_initializer_size() > 0)
      return Status::error(Code::unsupported, "sparse initializer '%.100s' is not supported",
                           source.sparse_initializer(0).values().name().c_str());
    if (Status status = open_scope(source); !status.ok()) return status;
    for (const onnx::TensorProto& initializer : source.initializer()) {
      if (initializer.name().empty()) return Status::error(Code::invalid_argument, "an initializer has no name");
      Expected<Tensor> tensor = proto::import_tensor(initializer, limits_, external_);
      if (!tensor) return tensor.status();
      if (!graph.initializers.emplace(initializer.name(), *std::move(tensor)).second)
        return Status::error(Code::invalid_argument, "initializer '%.100s' is defined twice", initializer.name().c_str());
    }
    // Before IR version 4 every initializer was also listed as an input; later it means "may be overridden". Not of subgraphs.
    for (const onnx::ValueInfoProto& input : source.input()) {
      if (scopes_.size() == 1 && graph.initializers.count(input.name())) continue;
      Status status = import_value(input, graph.inputs);
      if (!status.ok()) return status;
    }
    for (const onnx::ValueInfoProto& output : source.output()) {
      Status status = import_value(output, graph.outputs);
      if (!status.ok()) return status;
    }
    graph.nodes.reserve(size_t(source.node_size()));
    for (int i = 0; i < source.node_size(); ++i) {
      Status status = import_node(source.node(i), i, graph);
      if (!status.ok()) return status;
    }
    if (scopes_.size() > 1) capture_outputs(graph);
    scopes_.pop_back();
    return {};
  }

  // The names that a graph gives to values; no graph inside may give them to others.
  Status open_scope(const onnx::GraphProto& source) {
    std::unordered_set<std::string> names;
    for (const auto& initializer : source.initializer()) names.insert(initializer.name());
    for (const auto& input : source.input()) names.insert(input.name());
    for (const auto& node : source.node()) {
      node_names_.insert(node.name());
      names.insert(node.output().begin(), node.output().end());
    }
    names.erase("");
    for (const auto& outer : scopes_)
      for (const std::string& name : names)
        if (outer.count(name))
          return Status::error(Code::invalid_argument, "value '%.100s' hides one of the graph around it", name.c_str());
    scopes_.push_back(std::move(names));
    return {};
  }

  Status import_value(const onnx::ValueInfoProto& source, std::vector<ValueInfo>& list) {
    const char* name = source.name().c_str();
    if (source.name().empty()) return Status::error(Code::invalid_argument, "a graph input or output has no name");
    if (scopes_.size() > 1 && source.type().value_case() == onnx::TypeProto::VALUE_NOT_SET) {
      list.push_back(untyped(source.name()));
      return {};
    }
    if (!source.type().has_tensor_type())
      return Status::error(Code::unsupported, "'%.100s' is not a tensor: sequences, maps and optionals are not supported", name);
    const auto& type = source.type().tensor_type();
    const std::optional<DType> dtype = proto::dtype_from(type.elem_type());
    if (!dtype)
      return Status::error(Code::unsupported, "'%.100s': element type %s is not supported", name,
                           proto::type_name(type.elem_type()).c_str());
    ValueInfo value{source.name(), *dtype, {}, type.has_shape()};
    if (size_t(type.shape().dim_size()) > limits_.max_rank)
      return Status::error(Code::unsupported, "'%.100s': %d dimensions, more than the limit of %zu", name, type.shape().dim_size(),
                           limits_.max_rank);
    for (const auto& dim : type.shape().dim()) {
      if (!dim.has_dim_value()) {
        value.dims.push_back({-1, dim.dim_param()});
      } else if (dim.dim_value() < 0) {  // some exporters write -1 for "unknown"
        value.dims.push_back({-1, ""});
      } else {
        value.dims.push_back({dim.dim_value(), ""});
      }
    }
    list.push_back(std::move(value));
    return {};
  }

  static ValueInfo untyped(const std::string& name) { return {name, DType::f32, {}, false, false}; }

  Status import_node(const onnx::NodeProto& source, int index, Graph& graph) {
    Node node;
    node.op_type = source.op_type();
    node.domain = source.domain() == "ai.onnx" ? "" : source.domain();
    node.name = unique_name(source, index);
    if (node.op_type.empty()) return fail(node, Code::invalid_argument, "it has no operator type");
    node.inputs.assign(source.input().begin(), source.input().end());
    node.outputs.assign(source.output().begin(), source.output().end());
    for (const onnx::AttributeProto& attribute : source.attribute()) {
      Expected<Attribute> value = import_attribute(node, attribute);
      if (!value) return value.status();
      if (!node.attributes.emplace(attribute.name(), *std::move(value)).second)
        return fail(node, Code::invalid_argument, "attribute '" + attribute.name() + "' is defined twice");
    }
    if (is_control(node))
      if (Status status = close(node); !status.ok()) return status;
    graph.nodes.push_back(std::move(node));
    return {};
  }

  // ---- graphs in nodes ------------------------------------------------------------------------------------------------------

  // Only these attributes may be graphs: whoever reads others would not know what they mean.
  static bool takes_graph(const Node& node, const std::string& attribute) {
    if (!is_control(node)) return false;
    return node.op_type == "If" ? attribute == "then_branch" || attribute == "else_branch" : attribute == "body";
  }

  Expected<Attribute> import_subgraph(const Node& node, const onnx::AttributeProto& source) {
    if (scopes_.size() > limits_.max_depth)
      return fail(node, Code::unsupported, "graphs in graphs, deeper than the limit of " + std::to_string(limits_.max_depth));
    auto inner = std::make_shared<Graph>();
    inner->opset = graph_.opset;
    const bool outermost = scopes_.size() == 1;
    // Behind a long chain of graphs there would be no room for what is wrong.
    if (Status s = import_graph(source.g(), *inner); !s.ok())
      return outermost ? fail(node, s.code(), source.name() + ": " + s.text()) : s;
    return Attribute(Subgraph(std::move(inner)));
  }

  // An output of a subgraph that is a value of the graph around it gets a node, so that the graph can be written again.
  void capture_outputs(Graph& graph) {
    for (ValueInfo& output : graph.outputs) {
      if (scopes_.back().count(output.name)) continue;
      std::string name = output.name + "_inside";
      while (std::any_of(scopes_.begin(), scopes_.end(), [&](const auto& scope) { return scope.count(name) != 0; })) name += "_";
      scopes_.back().insert(name);
      Node copy;
      copy.op_type = "Identity";
      copy.name = name;
      while (!used_names_.insert(copy.name).second) copy.name += "_";
      copy.inputs = {output.name};
      copy.outputs = {name};
      graph.nodes.push_back(std::move(copy));
      output.name = name;
    }
  }

  // What the subgraphs of a node read and do not define become inputs: of all of them, and of the node. See Graph::captures.
  Status close(Node& node) {
    if (node.op_type == "Loop" && node.inputs.size() < 2) node.inputs.resize(2);
    std::vector<std::string> captured;
    std::unordered_set<std::string> seen;
    for (const auto& [name, attribute] : node.attributes) {
      const Subgraph* inner = std::get_if<Subgraph>(&attribute);
      if (!inner) continue;
      std::unordered_set<std::string> defined = {""};
      for (const ValueInfo& input : (*inner)->inputs) defined.insert(input.name);
      for (const auto& [value, tensor] : (*inner)->initializers) defined.insert(value);
      for (const Node& n : (*inner)->nodes) defined.insert(n.outputs.begin(), n.outputs.end());
      for (const Node& n : (*inner)->nodes)
        for (const std::string& input : n.inputs)
          if (!defined.count(input) && seen.insert(input).second) captured.push_back(input);
    }
    node.inputs.insert(node.inputs.end(), captured.begin(), captured.end());
    for (auto& [name, attribute] : node.attributes) {
      Subgraph* inner = std::get_if<Subgraph>(&attribute);
      if (!inner) continue;
      Graph closed = **inner;
      for (const std::string& value : captured) closed.inputs.push_back(untyped(value));
      closed.captures = captured.size();
      if (Status s = sort_topologically(closed); !s.ok()) return fail(node, s.code(), name + ": " + s.text());
      *inner = std::make_shared<const Graph>(std::move(closed));
    }
    if (Status s = check_control(node); !s.ok()) return s;
    return node.op_type == "If" ? check_branch_types(node) : Status();
  }

  static Status check_branch_types(const Node& node) {
    const Graph &a = *subgraph(node, "then_branch"), &b = *subgraph(node, "else_branch");
    for (size_t i = 0; i < a.outputs.size(); ++i)
      if (a.outputs[i].has_type && b.outputs[i].has_type && a.outputs[i].dtype != b.outputs[i].dtype)
        return fail(node, Code::invalid_argument, "its branches give " + std::string(name_of(a.outputs[i].dtype)) + " and " +
                                                      name_of(b.outputs[i].dtype) + " as output " + std::to_string(i));
    return {};
  }

  // Rewrites the graphs in the nodes, then the graph. What subgraphs capture of its constants they know meanwhile: operators are taken
  // apart by their constants.
  static Status at_all_depths(Graph& graph, Status (*rewrite)(Graph&)) {
    const Status inner = change_subgraphs(graph, [&](const Node& node, Graph& in) {
      std::vector<std::string> known;
      for (size_t i = 1; i <= in.captures; ++i) {
        const auto constant = graph.initializers.find(node.inputs[node.inputs.size() - i]);
        if (constant == graph.initializers.end()) continue;
        known.push_back(in.inputs[in.inputs.size() - i].name);
        in.initializers[known.back()] = constant->second;
      }
      const Status status = at_all_depths(in, rewrite);
      for (const std::string& name : known) in.initializers.erase(name);
      return status;
    });
    return inner.ok() ? rewrite(graph) : inner;
  }

  // Older and foreign operators become those of one opset.
  Status rewrite() {
    Status status = sort_topologically(graph_);
    if (status.ok() && graph_.opset < 7) status = at_all_depths(graph_, raise_opset_6);
    if (status.ok() && has_contrib(graph_)) status = raise_opset(graph_);
    if (status.ok()) status = at_all_depths(graph_, expand_contrib);
    if (status.ok()) status = at_all_depths(graph_, [](Graph& graph) {
      expand_einsum(graph);
      return Status();
    });
    return status;
  }

  std::string unique_name(const onnx::NodeProto& source, int index) {
    std::string name = source.name();
    if (!name.empty() && used_names_.insert(name).second) return name;
    name = source.op_type() + "_" + std::to_string(index);
    while (node_names_.count(name)) name += "_";
    node_names_.insert(name);
    used_names_.insert(name);
    return name;
  }

  Expected<Attribute> import_attribute(const Node& node, const onnx::AttributeProto& source) {
    using Type = onnx::AttributeProto;
    const std::string quoted = "attribute '" + source.name() + "'";
    if (source.name().empty()) return fail(node, Code::invalid_argument, "an attribute has no name");
    if (!source.ref_attr_name().empty()) return fail(node, Code::unsupported, quoted + " refers to a function's attribute");
    switch (source.type()) {
      case Type::INT: return Attribute(source.i());
      case Type::FLOAT: return Attribute(source.f());
      case Type::STRING: return Attribute(source.s());
      case Type::INTS: return Attribute(std::vector<int64_t>(source.ints().begin(), source.ints().end()));
      case Type::FLOATS: return Attribute(std::vector<float>(source.floats().begin(), source.floats().end()));
      case Type::STRINGS: return Attribute(std::vector<std::string>(source.strings().begin(), source.strings().end()));
      case Type::TENSOR: {
        Expected<Tensor> tensor = proto::import_tensor(source.t(), limits_, external_);
        if (!tensor) return fail(node, tensor.status().code(), quoted + ": " + tensor.status().text());
        return Attribute(*std::move(tensor));
      }
      case Type::GRAPH:
        if (takes_graph(node, source.name())) return import_subgraph(node, source);
        [[fallthrough]];
      case Type::GRAPHS: return fail(node, Code::unsupported, "subgraphs (" + quoted + ") are not supported");
      default: return fail(node, Code::unsupported, quoted + " has an unsupported type");
    }
  }

  static Status fail(const Node& node, Code code, const std::string& text) {
    return Status::error(code, "%.40s '%.100s': %.200s", node.op_type.c_str(), node.name.c_str(), text.c_str());
  }

  const OnnxLimits& limits_;
  proto::ExternalData* external_;
  Graph graph_;
  size_t nodes_ = 0;
  std::unordered_set<std::string> node_names_, used_names_;
  std::vector<std::unordered_set<std::string>> scopes_;  // names of values, of the graph being read and those around it
};

// Parses one protobuf message from a whole file.
Status parse_file(const std::string& path, const OnnxLimits& limits, google::protobuf::Message& message) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return Status::error(Code::io, "'%.250s' is no readable file", path.c_str());
  const uint64_t size = std::filesystem::file_size(path, error);
  if (error) return Status::error(Code::io, "'%.250s': %s", path.c_str(), error.message().c_str());
  if (size > limits.max_file_bytes || size > uint64_t(std::numeric_limits<int>::max()))
    return Status::error(Code::overflow, "'%.250s' has %llu bytes, more than the limit", path.c_str(),
                         static_cast<unsigned long long>(size));
  std::ifstream file(path, std::ios::binary);
  google::protobuf::io::IstreamInputStream stream(&file);
  if (!file || !message.ParseFromZeroCopyStream(&stream))
    return Status::error(Code::invalid_argument, "'%.250s' is truncated or no such protobuf message", path.c_str());
  return {};
}

// Runs a function that may throw bad_alloc and returns an Expected.
template <class F>
auto guarded(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Status::error(Code::out_of_memory, "no memory to import the model");
  } catch (const std::exception& e) {
    return Status::error(Code::internal, "import: %.200s", e.what());
  }
}

}  // namespace

Expected<Graph> load_onnx(const std::string& path, const OnnxLimits& limits) {
  return guarded([&]() -> Expected<Graph> {
    onnx::ModelProto model;
    if (Status status = parse_file(path, limits, model); !status.ok()) return status;
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    proto::ExternalData external(folder.empty() ? "." : folder);
    return Importer(limits, &external).run(model);
  });
}

Expected<Graph> parse_onnx(std::span<const std::byte> bytes, const OnnxLimits& limits) {
  return guarded([&]() -> Expected<Graph> {
    if (bytes.size() > limits.max_file_bytes || bytes.size() > size_t(std::numeric_limits<int>::max()))
      return Status::error(Code::overflow, "the model has %zu bytes, more than the limit", bytes.size());
    onnx::ModelProto model;
    if (!model.ParseFromArray(bytes.data(), int(bytes.size())))
      return Status::error(Code::invalid_argument, "the model is truncated or no ONNX protobuf message");
    return Importer(limits, nullptr).run(model);
  });
}

Expected<Tensor> load_tensor_proto(const std::string& path, const OnnxLimits& limits) {
  return guarded([&]() -> Expected<Tensor> {
    onnx::TensorProto tensor;
    if (Status status = parse_file(path, limits, tensor); !status.ok()) return status;
    return proto::import_tensor(tensor, limits, nullptr);
  });
}

}  // namespace octavo
