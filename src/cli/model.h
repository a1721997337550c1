// Loading models, for all commands alike.
#pragma once

#include <string>

#include "error.h"
#include "octavo/onnx.h"
#include "octavo/session.h"

namespace octavo::cli {

inline Graph load_model(const std::string& path) { return value(load_onnx(path), path); }

inline Session open_session(Graph graph, const std::string& path, int threads) {
  return value(Session::create(std::move(graph), threads), path);
}

// The index of the output of that name, or of the first one for "". Throws Failure.
size_t find_output(const Graph& graph, const std::string& name, const std::string& path);

// For inputs like these: their shapes, and the values of those on which shapes or branches depend.
CompileOptions options_for(const Graph& graph, const std::map<std::string, Tensor>& inputs);

}  // namespace octavo::cli
