// dwconv_u8s8_neoni8mm_2x16x4      acc[r][x][c] = bias[c] + sum of taps; see octavo/ukernel.h
// A: u8 pixels, channels contiguous, as they are: no flips. (For s8 pixels neondot has all that there is.)
// B: blocks of 16 channels, [taps/4][16][4] s8:  t0..t3 of c0 | t0..t3 of c1 | ...
// C: any type
// Registers (3x3 stride 1, two rows of two pixels): 16 accumulators, 8 pairs of taps, 4 interleaved; the constants are loaded
// Needs USDOT. Exact: it adds four products of u8 and s8 to int32
// Measured: no machine at hand. llvm-mca 19, 3x3, u8 to u8, cycles for 16 outputs, GCC 12 (Clang 19): neoverse-v1 10.6 (10.5) at
// stride 1, 15.0 (15.0) at stride 2; neoverse-n2 20.8 (20.8), 28.8 (28.7): 91 to 96 % of what all their vector instructions take
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/arm/dwconv_dot.inl.h"

struct U8 {
  static constexpr bool kFlip = false;
  static int32x4_t dot(int32x4_t acc, uint8x16_t a, int8x16_t w) { return vusdotq_s32(acc, a, w); }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

extern "C" void octavo_dwconv_u8s8_neoni8mm_2x16x4(const octavo::DwconvArgs* g) {
  octavo::OCTAVO_ISA::Dot<octavo::OCTAVO_ISA::U8>::run(*g);
}
