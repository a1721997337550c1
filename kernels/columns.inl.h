// Some columns of a brgemm call.
#pragma once

#include "kernels/unroll.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

// The part of a call that computes n columns from `column` on.
class SomeColumns {
 public:
  OCTAVO_INLINE SomeColumns(const BrgemmArgs& g, int column, int n) : epi_(*g.epi), args_(g) {
    advance(epi_.bias, column, 4);
    advance(epi_.scale, column, 4);
    advance(epi_.bias_f32, column, 4);
    advance(epi_.residual, column, bytes_of(epi_.residual_dtype));
    advance(args_.c, column, bytes_of(epi_.out));
    args_.n = n;
    args_.epi = &epi_;
  }
  const BrgemmArgs& args() const { return args_; }

 private:
  template <class T>
  static OCTAVO_INLINE void advance(T*& p, int column, size_t bytes) {
    if (p) p = reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(p) + size_t(column) * bytes);
  }
  static OCTAVO_INLINE size_t bytes_of(DType t) { return t == DType::f32 || t == DType::s32 ? 4 : 1; }
  EpilogueArgs epi_;
  BrgemmArgs args_;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
