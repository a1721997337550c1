// The operators of an ONNX file that could not be imported, so that a refusal can name them all the same.
#pragma once

#include <string>
#include <vector>

namespace octavo::cli {

// The distinct op_types of the main graph's nodes, in the order of the file. Walks protobuf's wire format and nothing more:
// what is malformed ends the list.
std::vector<std::string> onnx_op_types(const std::string& path);

}  // namespace octavo::cli
