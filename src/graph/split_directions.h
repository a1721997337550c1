// Bidirectional recurrent nodes as two of one direction each, which have int8 kernels.
#pragma once

#include "octavo/graph.h"

namespace octavo {

// LSTM and GRU with constant weights and states of zeros become a forward and a reverse node whose results are concatenated; the
// values are the same. States that are zeros whatever their shape (ConstantOfShape, Expand) are left out. Others stay.
void split_directions(Graph& graph);

}  // namespace octavo
