// One shape on Octavo: a plan with its operands.
#pragma once

#include <optional>
#include <string>

#include "octavo/threads.h"
#include "shapes.h"

namespace octavo::bench {

class Case {
 public:
  // Makes the plan, runs it once and compares up to 4000 elements, spread evenly, with the reference. `operands` is used as long
  // as the case is.
  Case(const Shape&, const Operands& operands, const Parallel& parallel = single_thread());
  // What the caller decides of the plan, which is neither run nor checked.
  Case(const Shape&, const Operands& operands, const Choice& choice, const KernelInfo* kernel);
  const std::string& error() const { return error_; }  // empty: all is well
  void create();                                       // makes the plan anew
  void run();
  std::string describe() const;

 private:
  void make_workspace();
  void make_gemm();
  void make_conv();
  void make_matmul();
  template <class Plan>
  void keep(Expected<Plan> plan, std::optional<Plan>& to);
  void check();

  const Shape& shape_;
  const Operands& operands_;
  Parallel parallel_;
  Bytes workspace_;
  GemmDesc gemm_desc_;
  ConvDesc conv_desc_;
  MatmulDesc matmul_desc_;
  GemmArgs gemm_args_;
  ConvArgs conv_args_;
  MatmulArgs matmul_args_;
  std::optional<GemmPlan> gemm_;
  std::optional<ConvPlan> conv_;
  std::optional<DepthwisePlan> depthwise_;
  std::optional<MatmulPlan> matmul_;
  std::string error_;
};

}  // namespace octavo::bench
