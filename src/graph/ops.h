// The table of generic operators: shape inference and evaluation on plain row-major tensors. Constant folding and Program
// share it; what has a plan (Conv, Gemm, pools ...) is lowered by Program and has an eval here only where folding needs one.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "octavo/eltwise.h"
#include "octavo/graph.h"

namespace octavo::ops {

constexpr int kMaxRank = 8;

// A dense row-major tensor whose memory belongs to someone else. Plain data, so that eval allocates nothing.
struct View {
  DType dtype = DType::f32;
  int rank = 0;
  int64_t dims[kMaxRank] = {};
  void* data = nullptr;   // null: an absent optional input
  int64_t count() const noexcept;
};

struct InferContext {
  const Node& node;
  int64_t opset;
  std::span<const TypeShape* const> inputs;    // null: absent
  std::span<const Tensor* const> constants;    // value of the input where it is known, else null
};

struct EvalContext {
  const Node& node;
  int64_t opset;
  const EltwiseKernels& eltwise;
  std::span<const View> inputs;
  std::span<const View> outputs;               // allocated with the inferred types and shapes; data null: absent
  void* scratch = nullptr;                     // OpInfo::scratch bytes
};

struct OpInfo {
  std::string_view op_type, domain;
  Expected<std::vector<TypeShape>> (*infer)(const InferContext&);
  Status (*eval)(const EvalContext&);          // null: only plans, or Programs of their own, compute it
  uint32_t shape_inputs = 0;                   // bit i: an output's shape depends on the values of input i
  size_t (*scratch)(const EvalContext&) = nullptr;  // bytes that eval needs, from the shapes alone; null: none
  bool may_skip_first = false;                 // the first output may be absent
};

// Null for an unknown operator.
const OpInfo* find(std::string_view op_type, std::string_view domain) noexcept;

// A Resize whose results are elements of its input: of the nearest ones, none beyond it.
bool copies_pixels(const Node& node) noexcept;

// op.infer with what holds for every operator: ranks up to kMaxRank, no more outputs than it has, sizes that fit int64.
Expected<std::vector<TypeShape>> infer(const OpInfo& op, const InferContext& ctx);

}  // namespace octavo::ops
