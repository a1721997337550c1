// What the commands that quantize have in common: a model, a recipe, calibration data.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "dataset.h"
#include "octavo/quantize.h"
#include "octavo/recipe.h"
#include "octavo/tune.h"
#include "text.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace octavo::cli {

struct QuantizeInputs {
  std::string model, recipe = "x86_static", calib;
  int64_t samples = std::numeric_limits<int64_t>::max();
  int threads = 1;
};

// Declares MODEL, --recipe, --calib, --samples and --threads; returns --calib.
CLI::Option* add_quantize_inputs(CLI::App& cmd, QuantizeInputs& inputs);

// A preset, or a JSON file. Throws Failure.
Recipe load_recipe(const std::string& name);

// Before minutes of calibration, not after them: the folder exists, and `output` is none of the inputs. Throws Failure.
void check_output(const std::string& output, const QuantizeInputs& inputs);

// The index-th of count equal shares of the samples.
struct Shard {
  int64_t index = 0, count = 1;
};
Shard parse_shard(const std::string& text);  // "I/N". Throws Failure

// One sample of zeros, of the shapes that the model declares or `shapes` gives ("NAME=1x3x224x224"); an open batch is 1. Throws Failure.
Inputs zeros_for(const Graph& graph, const std::vector<std::string>& shapes);

Json to_json(const std::vector<NodeTiming>& timings);
std::string timing_table(const std::vector<NodeTiming>& timings);

// Shows a share of the samples, which are numbered from `first` on, to the observers; returns their number. Throws Failure.
int64_t calibrate_on(Prepared& prepared, const Graph& graph, const QuantizeInputs& inputs, Shard shard = {}, int64_t first = 0);

}  // namespace octavo::cli
