// A function of one element behind the calls of a kernel: they leave floats, in the rows of C that they are called for or, where
// C holds bytes, in a scratch buffer, from which the function's results are quantized while they are in L1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "octavo/eltwise.h"
#include "octavo/quant.h"
#include "octavo/ukernel.h"
#include "src/buffer.h"

namespace octavo::detail {

// What the kernel computes.
Numerics before_function(Numerics) noexcept;

class FunctionCalls {
 public:
  FunctionCalls() = default;  // none: kernels are called as they are
  FunctionCalls(const Numerics& n, const EltwiseKernels& kernels)
      : kernels_(&kernels), function_(*n.function), lo_(n.lo), hi_(n.hi), out_(n.out), out_q_(n.out_q) {}

  explicit operator bool() const noexcept { return kernels_ != nullptr; }
  size_t scratch_bytes(int64_t elements) const noexcept {
    return kernels_ && out_ != DType::f32 ? align_up(size_t(elements) * sizeof(float)) : 0;
  }
  // One call. `scratch` holds as many elements as it computes. The arguments are as they were afterwards.
  void run(const KernelInfo& kernel, BrgemmArgs& g, float* scratch) const noexcept;
  // The same; room for all pixels of h rows of w.
  void run(const KernelInfo& kernel, WinogradArgs& g, float* scratch) const noexcept;
  // In as many calls as leave their results in L1; rows[0, pointers) are those that the call reads.
  void run(const KernelInfo& kernel, DwconvArgs& g, const char** rows, int64_t pointers, float* scratch) const noexcept;

  // Results of one call of run() on DwconvArgs, but at least a pixel of each row.
  static constexpr int64_t kSomeElements = 4096;

 private:
  // rows of n floats at v to rows of c.
  void finish(float* v, ptrdiff_t v_stride, int64_t rows, int64_t n, char* c, ptrdiff_t c_stride) const noexcept;

  const EltwiseKernels* kernels_ = nullptr;
  Function function_;
  float lo_ = 0, hi_ = 0;
  DType out_ = DType::f32;
  QParams out_q_;
};

}  // namespace octavo::detail
