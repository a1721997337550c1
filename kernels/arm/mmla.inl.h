// What SMMLA and USMMLA need (the K of blocks.inl.h). In each 128 bits they add the products of 2 rows x 8 values with 2 columns
// x 8 values to a 2x2 block of sums. Two rows of A must stand together for that. To pair them in the loop would cost one shuffle
// for eight products or so, on the pipes that multiply: the copy does it.
#pragma once

#include "kernels/arm/blocks.inl.h"
#include "kernels/arm/paired.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kDepth = 8;

// V: the register vocabulary, with load_a (16 bytes to each 128 bits), load_b and mmla.
template <class V>
struct Mmla : V {
  using Acc = typename V::I;
  using Element = int32_t;
  static constexpr bool integer = true;
  static constexpr int rows = 2, step_bytes = kColumns * kDepth;
  using Copy = PairedRows<kDepth, false>;
  static OCTAVO_INLINE Acc zero() { return V::splat(0); }

  template <int Pairs, int NV>
  static OCTAVO_INLINE void multiply(const Registers<Acc, Pairs * NV>& acc, const char*& a, const char*& b,
                                     int64_t steps) {
    for (const char* const end = b + steps * step_bytes; b != end;) {
      with_registers<typename V::A, Pairs>(V::load_a(a), [&](const Registers<typename V::A, Pairs>& x) OCTAVO_LAMBDA {
        each<Pairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA { x.template at<p>() = V::load_a(a + 16 * p); });
        each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
          const typename V::B w = V::template load_b<v>(b);
          each<Pairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA {
            acc.template at<p * NV + v>() = V::mmla(acc.template at<p * NV + v>(), x.template at<p>(), w);
          });
          if constexpr (v % 2) asm volatile("" : : : "memory");  // GCC would load all of B first, and spill accumulators
        });
      });
      a += Copy::kStep;
      b += step_bytes;
      asm("" : "+r"(a), "+r"(b));  // GCC would count, and add up where they are behind the loop
    }
  }
};

static_assert(kBlockRows / 2 * 8 + kBlockRows / 2 + 5 <= 32, "accumulators, A, B");

}  // namespace
}  // namespace octavo::OCTAVO_ISA
