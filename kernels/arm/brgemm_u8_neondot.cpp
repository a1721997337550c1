// brgemm_u8s8_neondot_48x64x4: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: copied in pairs of rows, six rows at a time, u8 flipped to s8 there; serves 64 columns
// B: [ceil(k/4)][64][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 63 | k4..7 of column 0 | ...
// C: s32, f32, u8, s8, in blocks of 6x16, 6x8 and 6x4; other column counts through padded copies
// Registers, of 32: 6 x 4 accumulators, 3 of A, 2 of B
// Needs dotprod. SDOT sums four s8*s8 into s32 without saturation: exact
// Modelled: llvm-mca 19 (tests/arm_speed.py), % of two SDOT a cycle, GCC 12: inner loop n1 99; a whole call with 8-bit output, the
//   copy of A and the epilogue in it, n1 k=64 65, k=256 84, k=1024 91. To flip in the loop was 94 there, and 63, 84, 91
#include "kernels/arm/blocks.inl.h"
#include "kernels/arm/neon.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

#include "kernels/arm/partial.inl.h"

static_assert(kBlockRows * 4 + kBlockRows / 2 + 2 <= 32, "accumulators, A, B");

constexpr int kDepth = 4;

// Two rows in a register, two steps of kDepth values of each:  k0..7 of row 0 | k0..7 of row 1 | k0..7 of row 2 | ... | k8..15 of
// row 0 | ... The copy takes general registers alone, and so does the flip: the pipes of the others multiply.
template <int Rows>
class HalvedRows {
 public:
  static constexpr int64_t kMost = 512;  // even
  static constexpr int kTwoSteps = (Rows + 1) / 2 * 16;
  explicit HalvedRows(const Tile& tile) : g_(tile.g), row_(tile.row), tap_steps_((g_.k + kDepth - 1) / kDepth) {}
  int64_t total() const { return g_.batch * tap_steps_; }
  const char* data() const { return copy_; }
  void fill(int64_t steps) {
    for (int64_t at = 0; at < steps;) {
      const int64_t left = tap_steps_ - done_, here = left < steps - at ? left : steps - at;
      const int64_t bytes = here < left ? here * kDepth : g_.k - done_ * kDepth;
      const char* a = static_cast<const char*>(g_.a[tap_]) + row_ * g_.a_stride_bytes + done_ * kDepth;
      for (int i = 0; i < Rows; ++i, a += g_.a_stride_bytes) copy_row(a, bytes, copy_ + at / 2 * kTwoSteps + i * 8, at % 2);
      at += here;
      done_ += here;
      if (done_ == tap_steps_) {
        done_ = 0;
        ++tap_;
      }
    }
    if (steps % 2)
      for (int i = 0; i < Rows; ++i) store(copy_ + steps / 2 * kTwoSteps + i * 8 + kDepth, uint32_t(0));
  }

 private:
  // `second`: from the second of two steps on. Of a last step that is not whole all bytes are written: B is zero there.
  static OCTAVO_INLINE void copy_row(const char* row, int64_t bytes, char* to, bool second) {
    if (second) {
      const uint32_t x = uint32_t(bytes >= kDepth ? load<uint32_t>(row) : load_part_of(row, bytes));
      store(to + kDepth, flip(x));
      row += kDepth;
      bytes -= kDepth;
      to += kTwoSteps;
    }
    for (; bytes >= 16; bytes -= 16, row += 16, to += 2 * kTwoSteps) {
      const uint64_t x = flip(load<uint64_t>(row)), y = flip(load<uint64_t>(row + 8));
      store(to, x);
      store(to + kTwoSteps, y);
    }
    if (bytes >= 8) {
      store(to, flip(load<uint64_t>(row)));
      row += 8;
      bytes -= 8;
      to += kTwoSteps;
    }
    if (bytes > 0) store(to, flip(load_part_of(row, bytes)));
  }
  template <class T>
  static OCTAVO_INLINE T load(const char* p) {
    T x;
    std::memcpy(&x, p, sizeof x);
    return x;
  }
  static OCTAVO_INLINE uint64_t load_part_of(const char* p, int64_t bytes) {
    return load_below_8(reinterpret_cast<const uint8_t*>(p), size_t(bytes));
  }
  template <class T>
  static OCTAVO_INLINE void store(char* p, T x) {
    std::memcpy(p, &x, sizeof x);
  }
  // xor 0x80 takes 128 from each value (PackFormat::a_offset).
  template <class T>
  static OCTAVO_INLINE T flip(T x) {
    x ^= T(0x8080808080808080u);
    asm("" : "+r"(x));  // not through vector registers
    return x;
  }

  const BrgemmArgs& g_;
  const int row_;
  const int64_t tap_steps_;
  int64_t tap_ = 0, done_ = 0;
  alignas(64) char copy_[kMost / 2 * kTwoSteps + 16];
};

// SDOT by lane: four s8 times four s8 into each s32 lane.
struct Sdot : Neon {
  using Acc = I;
  using Element = int32_t;
  static constexpr bool integer = true;
  static constexpr int rows = 1, step_bytes = kColumns * kDepth;
  template <int Groups>
  using Copy = HalvedRows<Groups>;
  static OCTAVO_INLINE Acc zero() { return splat(0); }

  // The first or second step of x, two rows in each register.
  template <int Second, int M, int NV>
  static OCTAVO_INLINE void step(const Registers<Acc, M * NV>& acc, const Registers<B, (M + 1) / 2>& x, const char* b) {
    each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
      const B w = load_b<v>(b);
      each<M>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
        Acc& sum = acc.template at<i * NV + v>();
        sum = vdotq_laneq_s32(sum, w, x.template at<i / 2>(), i % 2 * 2 + Second);
      });
    });
  }

  // Steps two by two; the sums of the second may be others.
  template <int M, int NV>
  static OCTAVO_INLINE void pairs_of_steps(const Registers<Acc, M * NV>& acc, const Registers<Acc, M * NV>& other,
                                           const Strip& strip) {
    constexpr int kPairs = (M + 1) / 2;
    const char* a = strip.a;
    const char* b = strip.b;
    for (int64_t steps = strip.steps; steps > 0; steps -= 2) {
      const char* second = steps > 1 ? b + step_bytes : b;  // of a step that is not there A is 0
      with_registers<B, kPairs>(load_b<0>(a), [&](const Registers<B, kPairs>& x) OCTAVO_LAMBDA {
        each<kPairs>([&]<int p>(Int<p>) OCTAVO_LAMBDA { x.template at<p>() = load_b<p>(a); });
        step<0, M, NV>(acc, x, b);
        step<1, M, NV>(other, x, second);
      });
      a += Copy<M>::kTwoSteps;
      b += 2 * step_bytes;
    }
  }

  template <int M, int NV>
  static OCTAVO_INLINE void multiply(const Registers<Acc, M * NV>& acc, const Strip& strip) {
    if constexpr (M > 1) {
      pairs_of_steps<M, NV>(acc, acc, strip);
    } else {  // products would wait for the sums of one row
      with_registers<Acc, NV>(zero(), [&](const Registers<Acc, NV>& other) OCTAVO_LAMBDA {
        pairs_of_steps<M, NV>(acc, other, strip);
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
void octavo_brgemm_u8s8_neondot_48x64x4(const BrgemmArgs* g) { block_brgemm<Sdot>(*g); }
}
