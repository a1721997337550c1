// What quantization costs in accuracy, by node, and which nodes to leave in float for a given loss.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "octavo/graph.h"
#include "octavo/recipe.h"

namespace octavo {

// A step of the quantized model: the nodes that one int8 kernel computes. Ratios in dB: 10 log10(sum x^2 / sum (x - y)^2), x of the
// float model and y of the other; infinite where they are equal.
struct StepDamage {
  std::string op_type;
  std::vector<std::string> nodes;
  int64_t macs = 0;
  double output_db = 0;  // of the step's own result, in the quantized model
  double alone_db = 0;   // of the model's outputs, when this step alone is quantized
};

struct Analysis {
  double sqnr_db = 0;             // of the model's outputs
  std::vector<StepDamage> steps;  // the most damaging one first: the least alone_db
};

// float_graph: Prepared::graph(), which has the names that convert() keeps. All f32 outputs count, alike. It runs the samples once for
// every step. progress(done, total) after each of those runs. Errors name what is in one graph only.
Expected<Analysis> analyze(const Graph& float_graph, const Graph& int8_graph, const std::vector<std::map<std::string, Tensor>>& samples,
                           const std::function<void(size_t, size_t)>& progress = {});

// The nodes to leave in float so that `good` holds for the mixed model: steps in the order of damage for each MAC that they cost,
// as many as it takes (by bisection), then without those of them that turn out not to be needed. Empty: the int8 model is good as
// it is. invalid_argument: not even the float nodes of all steps are enough.
Expected<std::set<std::string>> least_float_nodes(const Graph& float_graph, const Graph& int8_graph, const Analysis& analysis,
                                                  const std::function<Expected<bool>(const Graph&)>& good);

}  // namespace octavo
