// brgemm_{u8s8,s8s8}_neondot_48x64x4: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: copied in pairs of rows, six rows at a time, u8 flipped to s8 there; serves 64 columns
// B: [ceil(k/4)][64][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 63 | k4..7 of column 0 | ...
// C: s32, f32, u8, s8, in blocks of 6x16, 6x8 and 6x4; other column counts through padded copies
// Registers, of 32: 6 x 4 accumulators, 3 of A, 2 of B
// Needs dotprod. SDOT sums four s8*s8 into s32 without saturation: exact
// Modelled: llvm-mca 19 (tests/arm_speed.py), % of two SDOT a cycle, GCC 12: inner loop n1, a76 100; a whole call with 8-bit output,
//   the copy of A and the epilogue in it, n1 k=64 u8 75, s8 76; k=256 92. The bound at k=64: 384 SDOT and 102 others on the same pipes
//   for 6x16 sums (3 for each register: float, scale, round; 24 to narrow; 6 to store; the constants' share): 78. At k=256: 93
#include "kernels/arm/blocks.inl.h"
#include "kernels/arm/neon.inl.h"
#include "kernels/arm/paired.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

static_assert(kBlockRows * 4 + kBlockRows / 2 + 2 <= 32, "accumulators, A, B");

constexpr int kDepth = 4;

// SDOT by lane: four s8 times four s8 into each s32 lane. Flip: A is u8.
template <bool Flip>
struct Sdot : Neon {
  using Acc = I;
  using Element = int32_t;
  static constexpr bool integer = true;
  static constexpr int rows = 1, step_bytes = kColumns * kDepth;
  using Copy = PairedRows<kDepth, Flip>;
  static OCTAVO_INLINE Acc zero() { return splat(0); }

  // The first or second step of x, two rows in each register.
  template <int Second, int M, int NV>
  static OCTAVO_INLINE void step(const Registers<Acc, M * NV>& acc, const Registers<B, (M + 1) / 2>& x, const char* b) {
    each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
      B w;
      // By itself: where GCC pairs it with the next, the loop of s8 takes 4 % longer on the model of Cortex-A76.
      if constexpr (v == 0) {
        asm("ldr %q0, %1" : "=w"(w) : "m"(*reinterpret_cast<const B*>(b)));
      } else {
        w = load_b<v>(b);
      }
      each<M>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
        Acc& sum = acc.template at<i * NV + v>();
        sum = vdotq_laneq_s32(sum, w, x.template at<i / 2>(), i % 2 * 2 + Second);
      });
    });
  }

  // Steps two by two; the sums of the second may be others.
  template <int M, int NV>
  static OCTAVO_INLINE void pairs_of_steps(const Registers<Acc, M * NV>& acc, const Registers<Acc, M * NV>& other, const char*& a,
                                           const char*& b, int64_t steps) {
    constexpr int kPairs = (M + 1) / 2;
    for (; steps > 0; steps -= 2) {
      asm("" : "+r"(steps));  // GCC would count, and add up where a and b are behind the loop
      const char* second = steps > 1 ? b + step_bytes : b;  // of a step that is not there A is 0
      with_registers<B, kPairs>(load_b<0>(a), [&](const Registers<B, kPairs>& x) OCTAVO_LAMBDA {
        each<kPairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA { x.template at<p>() = load_b<p>(a); });
        step<0, M, NV>(acc, x, b);
        step<1, M, NV>(other, x, second);
      });
      a += 2 * Copy::kStep;
      b += 2 * step_bytes;
    }
  }

  template <int M, int NV>
  static OCTAVO_INLINE void multiply(const Registers<Acc, M * NV>& acc, const char*& a, const char*& b, int64_t steps) {
    if constexpr (M > 1) {
      pairs_of_steps<M, NV>(acc, acc, a, b, steps);
    } else {  // products would wait for the sums of one row
      with_registers<Acc, NV>(zero(), [&](const Registers<Acc, NV>& other) OCTAVO_LAMBDA {
        pairs_of_steps<M, NV>(acc, other, a, b, steps);
        each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA { set<v>(acc, add(get<v>(acc), get<v>(other))); });
      });
    }
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_neondot_48x64x4(const BrgemmArgs* g) { block_brgemm<Sdot<true>>(*g); }
void octavo_brgemm_s8s8_neondot_48x64x4(const BrgemmArgs* g) { block_brgemm<Sdot<false>>(*g); }
}
