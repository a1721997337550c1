// The copy of A (blocks.inl.h) in which two rows share 16 bytes, in general registers alone: the pipes of the others multiply.
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
    for (; bytes >= 64; bytes -= 64) copy_bytes<64>(row, next, to);
    for (; bytes >= 16; bytes -= 16) copy_bytes<16>(row, next, to);
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
  template <int Bytes>
  static OCTAVO_INLINE void copy_bytes(const char*& row, const char*& next, char*& to) {
    OCTAVO_UNROLL
    for (int at = 0; at < Bytes; at += 16) {
      uint64_t x[2], y[2];
      std::memcpy(x, row + at, 16);
      std::memcpy(y, next + at, 16);
      OCTAVO_UNROLL
      for (int i = 0; i < 2; ++i) store(to + (at / 8 + i) * kEight, flip(x[i]), flip(y[i]));
    }
    row += Bytes;
    next += Bytes;
    to += Bytes / 8 * kEight;
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
