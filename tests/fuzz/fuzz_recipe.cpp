// Any bytes may be a recipe: reading ends with a Recipe or a Status, and a Recipe writes what reads as itself.
// Run: fuzz_recipe CORPUS -max_total_time=60 -rss_limit_mb=2048
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "octavo/quantize.h"

namespace {

octavo::Graph graph() {
  octavo::Graph g;
  g.inputs = {{"x", octavo::DType::f32, {{1, ""}, {4, ""}}, true}};
  g.add_initializer("w", octavo::Tensor::from(octavo::DType::f32, {4, 2}, std::vector<float>{1, -1, 2, 0.5f, 3, -2, 0, 1}));
  g.add_node("MatMul", "fc", {"x", "w"});
  g.add_node("Relu", "relu", {"fc"});
  g.outputs = {{"relu", octavo::DType::f32, {}, false}};
  return g;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const octavo::Graph model = graph();
  const octavo::Expected<octavo::Recipe> recipe = octavo::Recipe::from_json({reinterpret_cast<const char*>(data), size});
  if (!recipe) return 0;
  const octavo::Expected<std::string> json = recipe->to_json();
  if (!json) return 0;
  const octavo::Expected<octavo::Recipe> again = octavo::Recipe::from_json(*json);
  if (!again || *again->to_json() != *json) std::abort();
  octavo::Expected<octavo::Prepared> prepared = octavo::prepare(model, *recipe);
  if (!prepared) return 0;
  const octavo::Tensor x = octavo::Tensor::from(octavo::DType::f32, {1, 4}, std::vector<float>{-1, 0, 0.25f, 9});
  if (!octavo::calibrate(*prepared, {{{"x", x}}}).ok()) return 0;
  if (const octavo::Expected<octavo::Graph> int8 = octavo::convert(*prepared)) (void)octavo::Program::compile(*int8);
  return 0;
}
