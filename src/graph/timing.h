// The times of keep_faster in a model's metadata.
#pragma once

#include <vector>

#include "octavo/graph.h"
#include "octavo/session.h"
#include "octavo/tune.h"

namespace octavo {

// In place of those that the graph has.
void store_timings(Graph& graph, const std::vector<NodeTiming>& timings);

// Fills in int8_ms and float_ms from the step's node, or from the first that is fused into it and has times. What is no pair of
// positive numbers was never timed: files are untrusted.
void read_timing(const Graph& graph, NodeReport& step);

}  // namespace octavo
