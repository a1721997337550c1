// Mixing the nodes of a float graph and of its quantized twin; and choosing, by time, which of the two each node shall be.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "octavo/graph.h"

namespace octavo {

// A graph without the quantization of its QuantizeLinear-DequantizeLinear pairs: what was dequantized is read as it was before,
// constants as the real values that their integers stand for. Other quantized operators stay. `unsupported` names a node whose
// constant is quantized in blocks.
Expected<Graph> dequantized(const Graph& graph);

// int8_graph, as convert() made it from float_graph (Prepared::graph()) or as the file of it, with the nodes named here as they are
// in float_graph: nothing is quantized or dequantized for them alone. Errors name a node that either graph lacks.
Expected<Graph> mixed(const Graph& float_graph, const Graph& int8_graph, const std::set<std::string>& float_nodes);

// The nodes of float_graph that int8_graph computes from or to bytes: one entry for each step of a compiled program. The first name
// is the step's; the last ones are nodes that only move the bytes that it reads.
struct QuantizedStep {
  std::string op_type;
  std::vector<std::string> nodes;
  int64_t macs = 0;
};
Expected<std::vector<QuantizedStep>> quantized_steps(const Graph& float_graph, const Graph& int8_graph,
                                                     const std::map<std::string, Tensor>& sample);

// What a step took in either form: the least of all runs. int8: with the QuantizeLinear and DequantizeLinear that it causes.
struct NodeTiming {
  std::string node, op_type;
  double int8_ms = 0, float_ms = 0;
  bool int8 = true;  // what was kept
};

struct TuneOptions {
  int threads = 1;
  int runs = 20;  // of each form, alternating
};

struct Tuned {
  Graph graph;
  std::vector<NodeTiming> timings;
};

// Times every int8 step against the float one and leaves out those that are slower by more than the noise of a clock, 3 %; again,
// with what that changed around them, until a whole run gets no shorter. Where the float graph is fastest, that is the result.
// sample: one tensor per graph input, of the shapes that matter. The result keeps the times in its metadata, as
// "octavo.ms/NODE" = "INT8 FLOAT", so that report() can show them wherever the file is read.
Expected<Tuned> keep_faster(const Graph& float_graph, const Graph& int8_graph, const std::map<std::string, Tensor>& sample,
                            const TuneOptions& options = {});

}  // namespace octavo
