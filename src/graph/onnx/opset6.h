#pragma once

#include "octavo/graph.h"

namespace octavo {

// Rewrites a sorted graph of opset 6 for opset 7. Errors name the node whose meaning has no form there.
Status raise_opset_6(Graph& graph);

}  // namespace octavo
