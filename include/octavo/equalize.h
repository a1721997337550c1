// Rewrites that make a model lose less by quantization. The first two leave the float function as it is, up to rounding.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "octavo/graph.h"

namespace octavo {

// Cross-layer equalization: Conv -> [Relu] -> Conv, where nobody else reads what lies between. Output channel c of the first is divided
// by s[c] = sqrt(r1[c] / r2[c]) and input channel c of the second multiplied with it, r being the largest |weight| of the channel:
// so no channel of the first hides behind a larger one. Again, until the factors are near 1. Returns the number of pairs.
// For graphs whose batch norms are folded, as Prepared::graph() is.
Expected<int> equalize_layers(Graph& graph);

// SmoothQuant: LayerNormalization or RMSNormalization -> MatMuls and Gemms, where nobody else reads what lies between; instead of the
// normalization also the Mul [and Add] by constants in which one that is spelled out ends. Channel c of the activation is divided by
// s[c] = max |x[c]|^alpha / max |w[c]|^(1 - alpha), through scale and bias of the normalization, and row c of the weights is
// multiplied with it. x is what the samples show. Returns the number of normalizations.
Expected<int> smooth_activations(Graph& graph, const std::vector<std::map<std::string, Tensor>>& samples, float alpha = 0.5f);

// Bias correction: rounded weights shift the mean of each output channel by sum of (w' - w) E[x]. That is taken off the s32 biases of
// int8_graph, which convert() made from float_graph (Prepared::graph()). Padding counts as if it were data. Returns the number of
// nodes; one without a bias is left as it is.
Expected<int> correct_biases(const Graph& float_graph, Graph& int8_graph, const std::vector<std::map<std::string, Tensor>>& samples);

}  // namespace octavo
