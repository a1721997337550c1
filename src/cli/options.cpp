#include "options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "error.h"
#include "text.h"

namespace octavo::cli {
namespace {

Shape parse_shape(const std::string& text, const std::string& argument) {
  Shape shape;
  const char* p = text.data();
  const char* const end = p + text.size();
  while (true) {
    int64_t size = 0;
    const auto [next, error] = std::from_chars(p, end, size);
    if (error != std::errc() || size < 0) throw Failure(fmt::format("--shape {}: expected NAME=1x3x224x224", argument));
    shape.push_back(size);
    if (next == end) return shape;
    if (*next != 'x') throw Failure(fmt::format("--shape {}: expected NAME=1x3x224x224", argument));
    p = next + 1;
  }
}

}  // namespace

std::pair<std::string, std::string> split_assignment(const std::string& argument, const Graph& graph) {
  const ValueInfo* best = nullptr;
  for (const ValueInfo& input : graph.inputs) {
    const bool fits =
        argument.size() > input.name.size() && argument.starts_with(input.name) && argument[input.name.size()] == '=';
    if (fits && (!best || input.name.size() > best->name.size())) best = &input;
  }
  if (best) return {best->name, argument.substr(best->name.size() + 1)};
  const size_t equals = argument.find('=');
  if (equals == std::string::npos) throw Failure(fmt::format("'{}': expected NAME=VALUE", argument));
  throw Failure(fmt::format("the model has no input '{}' (its inputs: {})", argument.substr(0, equals), names_of(graph.inputs)));
}

std::map<std::string, Shape> shapes_of_inputs(const std::vector<std::string>& arguments, const Graph& graph) {
  std::map<std::string, Shape> shapes;
  for (const std::string& argument : arguments) {
    const auto [name, text] = split_assignment(argument, graph);
    if (!shapes.emplace(name, parse_shape(text, argument)).second)
      throw Failure(fmt::format("--shape: input '{}' is given twice", name));
  }
  for (const ValueInfo& input : graph.inputs) {
    if (shapes.count(input.name)) continue;
    if (!input.has_shape) throw Failure(fmt::format("input '{}' has no shape; give one with --shape", input.name));
    Shape& shape = shapes[input.name];
    for (const Dim& dim : input.dims) {
      if (dim.size < 0 && &dim != &input.dims[0])
        throw Failure(fmt::format("dimension {} of input '{}' is open: {}; give a shape with --shape", shape.size(), input.name,
                                  dims_of(input)));
      shape.push_back(dim.size < 0 ? 1 : dim.size);
    }
  }
  return shapes;
}

std::map<std::string, Tensor> parse_values(const std::vector<std::string>& arguments, const Graph& graph) {
  std::map<std::string, Tensor> values;
  for (const std::string& argument : arguments) {
    const auto [name, text] = split_assignment(argument, graph);
    const auto input = std::find_if(graph.inputs.begin(), graph.inputs.end(), [&](const ValueInfo& v) { return v.name == name; });
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const bool boolean = input->dtype == DType::boolean, read = error == std::errc() && end == text.data() + text.size();
    if (!read || (!boolean && input->dtype != DType::s64) || (boolean && number != 0 && number != 1))
      throw Failure(fmt::format("--value {}: expected NAME=0 or NAME=1 for a bool, NAME=INTEGER for an s64 input", argument));
    Shape shape;
    for (const Dim& d : input->dims) shape.push_back(d.size);
    if (!input->has_shape || std::any_of(shape.begin(), shape.end(), [](int64_t size) { return size != 1; }))
      throw Failure(fmt::format("--value {}: the input has more than one element", argument));
    const Tensor tensor = boolean ? Tensor::from(DType::boolean, shape, std::vector<uint8_t>{uint8_t(number)})
                                  : Tensor::from(DType::s64, shape, std::vector<int64_t>{number});
    if (!values.emplace(name, tensor).second) throw Failure(fmt::format("--value: input '{}' is given twice", name));
  }
  return values;
}

}  // namespace octavo::cli
