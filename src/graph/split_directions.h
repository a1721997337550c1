// Recurrent nodes in the forms that have int8 kernels: one direction, of which Y is read, and an LSTM's last cell.
#pragma once

#include "octavo/graph.h"

namespace octavo {

// LSTM and GRU of two directions with constant weights become a forward and a reverse node whose results are concatenated; the
// values are the same. States that are zeros whatever their shape (ConstantOfShape, Expand) are left out. The last state Y_h is
// taken from Y where no lengths are given. Others stay.
void split_directions(Graph& graph);

}  // namespace octavo
