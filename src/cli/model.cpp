#include "model.h"

#include <fmt/format.h>

#include "text.h"

namespace octavo::cli {

size_t find_output(const Graph& graph, const std::string& name, const std::string& path) {
  if (graph.outputs.empty()) throw Failure(path + ": the model has no outputs");
  if (name.empty()) return 0;
  for (size_t i = 0; i < graph.outputs.size(); ++i)
    if (graph.outputs[i].name == name) return i;
  throw Failure(fmt::format("{}: the model has no output '{}' (its outputs: {})", path, name, names_of(graph.outputs)));
}

CompileOptions options_for(const Graph& graph, const std::map<std::string, Tensor>& inputs) {
  CompileOptions options;
  for (const auto& [name, tensor] : inputs) options.input_shapes[name] = tensor.shape();
  for (const std::string& name : shape_inputs(graph))
    if (const auto it = inputs.find(name); it != inputs.end()) options.input_values[name] = it->second;
  return options;
}

}  // namespace octavo::cli
