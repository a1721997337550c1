// ONNX in and out. Files are untrusted: every size is checked before it is believed.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "octavo/graph.h"

namespace octavo {

struct OnnxLimits {
  size_t max_file_bytes = size_t(2) << 30;     // protobuf's own limit
  size_t max_tensor_bytes = size_t(2) << 30;   // of one tensor, external data included
  size_t max_nodes = 1'000'000;  // subgraphs included
  size_t max_depth = 16;         // of graphs in nodes of graphs
  size_t max_rank = 8;
};

// Reads opsets 6 to 28 (6 becomes 7; older ones where no operator has changed since), floats and QDQ. Operators of com.microsoft that
// ONNX Runtime's quantizer and optimizer write become standard ones: QLinearAdd a QDQ form, FusedConv its parts, Attention its
// products; the graph is then of opset 13 at least. Errors (`invalid_argument`, `unsupported`, `io`, `overflow`) name the node or tensor.
// External data must lie in the model's own folder.
Expected<Graph> load_onnx(const std::string& path, const OnnxLimits& limits = {});
Expected<Graph> parse_onnx(std::span<const std::byte> bytes, const OnnxLimits& limits = {});

// Writes a standard ONNX model (to a temporary file, then renamed; nothing is lost on failure).
Status save_onnx(const Graph& graph, const std::string& path);
Expected<std::string> serialize_onnx(const Graph& graph);

// A serialized TensorProto (the .pb files of ONNX's backend tests).
Expected<Tensor> load_tensor_proto(const std::string& path, const OnnxLimits& limits = {});

}  // namespace octavo
