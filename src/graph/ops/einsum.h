// The equation of an Einsum, read without allocation: what the operator and the importer, which makes MatMul of it, share.
#pragma once

#include <span>
#include <string_view>

#include "ops/common.h"

namespace octavo::ops {

// The labels of one operand's dimensions: letters, and for those that "..." stands for digits, counted from the right.
struct EinsumTerm {
  int n = 0;
  char labels[kMaxRank] = {};
  std::string_view text() const { return {labels, size_t(n)}; }
};

struct Einsum {
  static constexpr int kMaxOperands = 4;
  int operands = 0;
  EinsumTerm in[kMaxOperands], out;
};

// ranks: of the operands. Null, or what is wrong.
const char* parse_einsum(std::string_view equation, std::span<const int> ranks, Einsum& e) noexcept;

}  // namespace octavo::ops
