// The copy of A (blocks.inl.h) in which two rows share 16 bytes. Beside multiplications it takes general registers alone, for the
// pipes of the others multiply; else the others, which load and store twice as much at once.
//     [8 values of K][3][2][8]:  k0..7 of row 0 | k0..7 of row 1 | k0..7 of row 2 | ... | k8..15 of row 0 | ...
#pragma once

#include <cstring>

#include "kernels/arm/blocks.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/arm/partial.inl.h"

// StepBytes: values of K in a step, 8 or 4. Flip: u8 as s8: xor 0x80 takes 128 from each value (PackFormat::a_offset).
template <int StepBytes, bool Flip>
struct PairedRows {
  static constexpr int kStepBytes = StepBytes, kStep = kBlockRows * StepBytes, kPair = 16;
  static constexpr int64_t kMost = 2048 / StepBytes, kBytes = kMost * kStep;
  static constexpr int64_t kAheadBytes = 32;  // a core that looks 128 operations ahead finds multiplications behind these

  template <bool Beside>
  static OCTAVO_INLINE void pair(const char* row, const char* next, int64_t bytes, char* copy, int pair, int64_t at) {
    char* to = copy + at * StepBytes / 8 * kEight + pair * kPair;
    if (StepBytes == 4 && at % 2) {  // the second of two steps
      const uint32_t x = uint32_t(first_of(row, bytes)), y = uint32_t(first_of(next, bytes));
      std::memcpy(to + 4, &x, 4);
      std::memcpy(to + 12, &y, 4);
      if (bytes <= 4) return;
      row += 4;
      next += 4;
      bytes -= 4;
      to += kEight;
    }
    for (; bytes >= 32; bytes -= 32) copy_bytes<32, Beside>(row, next, to);
    for (; bytes >= 16; bytes -= 16) copy_bytes<16, Beside>(row, next, to);
    if (bytes >= 8) {
      store(to, first_of(row, 8), first_of(next, 8));
      row += 8;
      next += 8;
      bytes -= 8;
      to += kEight;
    }
    if (bytes > 0) store(to, first_of(row, bytes), first_of(next, bytes));
  }

 private:
  static constexpr int kEight = kBlockRows * 8;
  // 16 bytes of each row at a time.
  template <int Bytes, bool Beside>
  static OCTAVO_INLINE void copy_bytes(const char*& row, const char*& next, char*& to) {
    OCTAVO_UNROLL
    for (int at = 0; at < Bytes; at += 16) {
      char* eight = to + at / 8 * kEight;
      if constexpr (Beside) {
        uint64_t x[2], y[2];
        std::memcpy(x, row + at, 16);
        std::memcpy(y, next + at, 16);
        OCTAVO_UNROLL
        for (int i = 0; i < 2; ++i) store(eight + i * kEight, flip(x[i]), flip(y[i]));
      } else {
        const uint64x2_t x = load16(row + at), y = load16(next + at);
        store16(eight, vreinterpretq_u8_u64(vzip1q_u64(x, y)));
        store16(eight + kEight, vreinterpretq_u8_u64(vzip2q_u64(x, y)));
      }
    }
    row += Bytes;
    next += Bytes;
    to += Bytes / 8 * kEight;
  }
  static OCTAVO_INLINE uint64x2_t load16(const char* p) {
    const uint8x16_t x = vld1q_u8(reinterpret_cast<const uint8_t*>(p));
    return vreinterpretq_u64_u8(Flip ? veorq_u8(x, vdupq_n_u8(0x80)) : x);
  }
  // Eight bytes, or fewer and zeros. Of a last step that is not whole anything may be there: B is zero. Of a step behind it only 0.
  static OCTAVO_INLINE uint64_t first_of(const char* p, int64_t bytes) {
    const uint8_t* q = reinterpret_cast<const uint8_t*>(p);
    uint64_t x;
    if (bytes < 8) return flip(load_below_8(q, size_t(bytes)), bytes <= 4 ? 0x80808080u : ~uint64_t(0) / 255 * 0x80);
    std::memcpy(&x, p, 8);
    return flip(x);
  }
  static OCTAVO_INLINE uint64_t flip(uint64_t x, uint64_t signs = ~uint64_t(0) / 255 * 0x80) {
    if (Flip) x ^= signs;
    asm("" : "+r"(x));  // not through vector registers
    return x;
  }
  static OCTAVO_INLINE void store(char* to, uint64_t x, uint64_t y) {
    std::memcpy(to, &x, 8);
    std::memcpy(to + 8, &y, 8);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
