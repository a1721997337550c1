// QuantizeLinear and DequantizeLinear per axis came with opset 13 of ai.onnx, so older graphs are rewritten for it.
#pragma once

#include "octavo/graph.h"

namespace octavo {

// Rewrites a graph of opset 7 to 12 into one of opset 13 that computes the same; leaves newer ones alone.
// Errors name a node whose operator changed in a way that this function does not know.
Status raise_opset(Graph& graph);

}  // namespace octavo
