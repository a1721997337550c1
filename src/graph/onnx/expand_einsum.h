// Einsum of two operands that is a product of matrices becomes Transpose, Reshape and MatMul, which have kernels in int8 and float.
#pragma once

#include "octavo/graph.h"

namespace octavo {

// Rewrites what is one; other equations stay (diagonals, sums over one operand, more than two operands, nothing summed). The graph
// must be sorted.
void expand_einsum(Graph& graph);

}  // namespace octavo
