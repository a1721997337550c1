// Rows of A as x86 addresses them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/unroll.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

// Up to 14 rows from five registers. x86 scales an index by 1, 2, 4 or 8, so rows 0..6 are p + s * {0, 1, 2, 4}, 3s * {1, 2}
// and 5s; rows 7..13 are the same from a second base. The asm statements hide how the values were made: a compiler that
// knows would rather keep 14 pointers, and spill them.
template <int M>
class StridedRows {
 public:
  struct Scratch {};
  OCTAVO_INLINE StridedRows(const char* a, ptrdiff_t stride, int64_t, Scratch&)
      : p_(a), q_(a), s_(stride), s3_(3 * stride), s5_(5 * stride) {
    static_assert(M <= 14);
    if constexpr (M > 7) q_ += 7 * stride;
    hide();
    if constexpr (M > 1) asm("" : "+r"(s_));
    if constexpr (M > 3) asm("" : "+r"(s3_));
    if constexpr (M > 5) asm("" : "+r"(s5_));
  }
  OCTAVO_INLINE const char* operator[](int i) const {
    const char* p = i < 7 ? p_ : q_;
    switch (i % 7) {
      case 1:
        return p + s_;
      case 2:
        return p + s_ * 2;
      case 3:
        return p + s3_;
      case 4:
        return p + s_ * 4;
      case 5:
        return p + s5_;
      case 6:
        return p + s3_ * 2;
      default:
        return p;
    }
  }
  OCTAVO_INLINE void advance(ptrdiff_t bytes) {
    p_ += bytes;
    if constexpr (M > 7) q_ += bytes;
    hide();
  }

 private:
  OCTAVO_INLINE void hide() {
    asm("" : "+r"(p_));
    if constexpr (M > 7) asm("" : "+r"(q_));
  }
  const char* p_;
  const char* q_;
  ptrdiff_t s_, s3_, s5_;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
