// What SMMLA and USMMLA need (the K of blocks.inl.h). In each 128 bits they add the products of 2 rows x 8 values with 2 columns
// x 8 values to a 2x2 block of sums. Two rows of A must stand together for that. To pair them in the loop would cost one shuffle
// for eight products or so, on the pipes that multiply. The copy pairs them with loads and stores of general registers alone:
//     [steps][pairs][2][8]:  k0..7 of row 0 | k0..7 of row 1 | k0..7 of row 2 | ... | k8..15 of row 0 | ...
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/arm/blocks.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kDepth = 8;

template <int Pairs>
class PairedRows {
 public:
  static constexpr int64_t kMost = 256;  // 12 KiB at most
  explicit PairedRows(const Tile& tile) : g_(tile.g), row_(tile.row), rows_(tile.rows) {}
  int64_t total() const { return g_.batch * ((g_.k + kDepth - 1) / kDepth); }
  const char* data() const { return copy_; }
  void fill(int64_t steps) {
    char* to = copy_;
    while (steps > 0) {
      const int64_t left = g_.k - done_, whole = left / kDepth < steps ? left / kDepth : steps;
      const int tail = whole < steps ? int(left % kDepth) : 0;
      const char* a = static_cast<const char*>(g_.a[tap_]) + row_ * g_.a_stride_bytes + done_;
      for (int i = 0; i < 2 * Pairs; i += 2) {
        const char* row = a + i * g_.a_stride_bytes;
        copy_pair(row, i + 1 < rows_ ? row + g_.a_stride_bytes : row, whole, tail, to + i * kDepth);
      }
      const int64_t copied = whole + (tail != 0);
      to += copied * kStep;
      steps -= copied;
      done_ += copied * kDepth;
      if (done_ >= g_.k) {
        done_ = 0;
        ++tap_;
      }
    }
  }

 private:
  static constexpr int kStep = 2 * Pairs * kDepth;
  static OCTAVO_INLINE void copy_pair(const char* row, const char* next, int64_t whole, int tail, char* to) {
    for (; whole >= 2; whole -= 2, row += 2 * kDepth, next += 2 * kDepth, to += 2 * kStep) {
      uint64_t x[2], y[2];
      std::memcpy(x, row, sizeof x);
      std::memcpy(y, next, sizeof y);
      for (int i = 0; i < 2; ++i) {
        asm("" : "+r"(x[i]), "+r"(y[i]));  // not through vector registers
        std::memcpy(to + i * kStep, &x[i], kDepth);
        std::memcpy(to + i * kStep + kDepth, &y[i], kDepth);
      }
    }
    if (whole) {
      std::memcpy(to, row, kDepth);
      std::memcpy(to + kDepth, next, kDepth);
    }
    if (!tail) return;
    row += whole * kDepth;
    next += whole * kDepth;
    to += whole * kStep;
    uint64_t x = 0, y = 0;
    for (int i = tail; i-- > 0;) {
      x = x << 8 | uint8_t(row[i]);
      y = y << 8 | uint8_t(next[i]);
    }
    std::memcpy(to, &x, kDepth);
    std::memcpy(to + kDepth, &y, kDepth);
  }

  const BrgemmArgs& g_;
  const int row_, rows_;
  int64_t tap_ = 0, done_ = 0;
  alignas(64) char copy_[kMost * kStep];
};

// V: the register vocabulary, with load_a (16 bytes to each 128 bits), load_b and mmla.
template <class V>
struct Mmla : V {
  using Acc = typename V::I;
  using Element = int32_t;
  static constexpr bool integer = true;
  static constexpr int rows = 2, step_bytes = kColumns * kDepth;
  template <int Groups>
  using Copy = PairedRows<Groups>;
  static OCTAVO_INLINE Acc zero() { return V::splat(0); }

  template <int Pairs, int NV>
  static OCTAVO_INLINE void multiply(const Registers<Acc, Pairs * NV>& acc, const Strip& strip) {
    const char* a = strip.a;
    const char* b = strip.b;
    for (int64_t steps = strip.steps; steps > 0; --steps) {
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
      a += 2 * Pairs * kDepth;
      b += step_bytes;
    }
  }
};

static_assert(kBlockRows / 2 * 8 + kBlockRows / 2 + 5 <= 32, "accumulators, A, B");

}  // namespace
}  // namespace octavo::OCTAVO_ISA
