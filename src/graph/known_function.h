// Which of the functions that plans compute behind a GEMM or convolution (Numerics::function) nodes stand for.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "octavo/graph.h"
#include "octavo/unary.h"

namespace octavo {

// The function that a node by itself is: LeakyRelu, Elu, Sigmoid, Tanh, Gelu, HardSigmoid, HardSwish, Softplus, Swish.
std::optional<Function> function_of(const Node& node);

// The function without attributes that has these values at function_points(), to what float operators in another order may differ
// by: x * Sigmoid(x) is Silu, whichever operators spell it.
const std::vector<float>& function_points();
std::optional<Function> known_function(std::span<const float> values);

}  // namespace octavo
