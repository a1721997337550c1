// Functions of one float: what EltwiseKernels::unary computes, and what plans apply to their results (Numerics::function).
#pragma once

#include <cstdint>

namespace octavo {

enum class Unary : uint8_t {
  abs, neg, exp, log, sqrt, reciprocal, floor, ceil, round,      // round: half to even
  relu, leaky_relu, elu, sigmoid, tanh, erf, gelu, gelu_tanh, silu, hardsigmoid, hardswish, softplus,
};

// alpha, beta: leaky_relu and elu slope; hardsigmoid max(0, min(1, alpha*x + beta)); else ignored.
struct Function {
  Unary op = Unary::relu;
  float alpha = 0, beta = 0;
  friend bool operator==(const Function&, const Function&) = default;
};

}  // namespace octavo
