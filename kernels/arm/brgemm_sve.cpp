// brgemm_{u8s8,s8s8}_sve_48x64x4, brgemm_f32f32_sve_6x64x1: acc[i][j] = bias[j] + sum_t sum_p A_t[i][p] * B_t[p][j]
// A: copied once per call, u8 flipped to s8 there; serves 64 columns; int8: four bytes at a time, broadcast; f32: 16 bytes, by
// lane B: [ceil(k/4)][64][4] s8:  k0..3 of column 0 | k0..3 of column 1 | ... | k0..3 of column 63 | k4..7 of column 0 | ...
//    f32: [k][64]:  k0 of columns 0..63 | k1 of columns 0..63 | ...
//    The same for every vector length: a register takes as many columns of a step as fit
// C: s32, f32, u8, s8, in blocks of 6 rows and four (two, one) registers of columns, predicated
// Registers, of 32: 6 x 4 accumulators; int8: 4 of B, 2 of A; f32: 6 of A, 2 of B
// Needs SVE, any vector length. SDOT sums four s8*s8 into s32 without saturation: exact
// Modelled: llvm-mca 19 (tests/arm_speed.py), % of two SDOT or FMLA a cycle, GCC 12: a64fx int8 inner loop 100, a whole call with
//   8-bit output k=64 53, k=256 77; f32 inner loop a64fx 50 (FMLA by lane takes two turns there), neoverse-v1 98
#include "kernels/arm/blocks.inl.h"
#include "kernels/arm/sve.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

static_assert(kBlockRows * 4 + kBlockRows + 2 <= 32, "accumulators, A, B");

// Rows one after the other, in units of 4 bytes: four 8-bit values, or a float.
template <bool Flip>
struct FlatRows {
  static constexpr int kStepBytes = 4, kStep = 4;
  static constexpr int64_t kMost = 512, kAheadBytes = 64;
  static constexpr ptrdiff_t kRowBytes = 4 * kMost + 256 + 16;  // what is stored behind a tap, and loaded behind the last one
  static constexpr int64_t kPair = 2 * kRowBytes, kBytes = kBlockRows * kRowBytes;

  template <bool Beside>
  static OCTAVO_INLINE void pair(const char* row, const char* next, int64_t bytes, char* copy, int pair, int64_t at) {
    char* to = copy + pair * kPair + at * kStep;
    copy_row(row, bytes, to);
    copy_row(next, bytes, to + kRowBytes);
  }

 private:
  static OCTAVO_INLINE void copy_row(const char* row, int64_t bytes, char* to) {
    for (int64_t i = 0; i < bytes; i += int64_t(svcntb())) {
      svuint8_t x = svld1_u8(svwhilelt_b8(i, bytes), reinterpret_cast<const uint8_t*>(row + i));
      if (Flip) x = sveor_u8_x(svptrue_b8(), x, svdup_u8(0x80));
      svst1_u8(svptrue_b8(), reinterpret_cast<uint8_t*>(to + i), x);
    }
  }
};

// Each 4 bytes of a row, broadcast, times a step of the panel. (By lane, a multiplication takes twice as long on A64FX.)
template <class D>
struct Broadcast : D {
  static constexpr int rows = 1, step_bytes = kColumns * 4;
  using Copy = FlatRows<D::flip>;

  template <int M, int NV>
  static OCTAVO_INLINE void step(const Registers<typename D::Acc, M * NV>& acc, const char* a, const char* b) {
    with_registers<typename D::Acc, NV>(D::zero(), [&](const Registers<typename D::Acc, NV>& w) OCTAVO_LAMBDA {
      each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA { w.template at<v>() = D::template load_b<v>(b); });
      each<M>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
        const typename D::Acc x = D::load_a(a + i * Copy::kRowBytes);
        each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
          acc.template at<i * NV + v>() = D::dot(acc.template at<i * NV + v>(), x, w.template at<v>());
        });
        if constexpr (i % 2) asm volatile("" : : : "memory");  // GCC would load all of A first, and spill accumulators
      });
    });
  }

  template <int M, int NV>
  static OCTAVO_INLINE void multiply(const Registers<typename D::Acc, M * NV>& acc, const char*& a, const char*& b,
                                     int64_t steps) {
    for (; steps >= 4; steps -= 4) {
      each<4>([&]<int i>(Int<i>) OCTAVO_LAMBDA { step<M, NV>(acc, a + 4 * i, b + i * step_bytes); });
      a += 16;
      b += 4 * step_bytes;
    }
    for (; steps > 0; --steps) {
      step<M, NV>(acc, a, b);
      a += 4;
      b += step_bytes;
    }
  }
};

template <bool Flip>
struct Sdot : Sve {
  using Acc = I;
  using Element = int32_t;
  static constexpr bool integer = true, flip = Flip;
  static OCTAVO_INLINE Acc zero() { return splat(0); }
  static OCTAVO_INLINE I load_a(const char* p) {
    int32_t x;
    std::memcpy(&x, p, sizeof x);
    return splat(x);
  }
  template <int v>
  static OCTAVO_INLINE I load_b(const char* p) {
    return svld1_vnum_s32(svptrue_b32(), reinterpret_cast<const int32_t*>(p), v);
  }
  static OCTAVO_INLINE Acc dot(Acc acc, I a, I b) { return svdot_s32(acc, svreinterpret_s8_s32(a), svreinterpret_s8_s32(b)); }
};

// A lane of 16 bytes of a row times a step of the panel: for floats, where Clang spills accumulators around broadcasts.
template <class D>
struct ByLane : D {
  static constexpr int rows = 1, step_bytes = kColumns * 4;
  using Copy = FlatRows<D::flip>;

  // One step: lane `Lane` of 16 bytes of each row.
  template <int Lane, int M, int NV>
  static OCTAVO_INLINE void step(const Registers<typename D::Acc, M * NV>& acc, const Registers<typename D::B, M>& x,
                                 const char* b) {
    each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
      const typename D::B w = D::template load_b<v>(b + Lane * step_bytes);
      each<M>([&]<int i>(Int<i>) OCTAVO_LAMBDA {
        acc.template at<i * NV + v>() = D::template dot<Lane>(acc.template at<i * NV + v>(), w, x.template at<i>());
      });
      if constexpr (v % 2) asm volatile("" : : : "memory");  // GCC would load all of B first, and spill accumulators
    });
  }

  template <int M, int NV>
  static OCTAVO_INLINE void multiply(const Registers<typename D::Acc, M * NV>& acc, const char*& a, const char*& b,
                                     int64_t steps) {
    const auto with_rows = [&](const auto& body) OCTAVO_LAMBDA {
      with_registers<typename D::B, M>(D::load_a(a), [&](const Registers<typename D::B, M>& x) OCTAVO_LAMBDA {
        each<M>([&]<int i>(Int<i>) OCTAVO_LAMBDA { x.template at<i>() = D::load_a(a + i * Copy::kRowBytes); });
        body(x);
      });
    };
    for (; steps >= 4; steps -= 4) {
      with_rows([&](const Registers<typename D::B, M>& x)
                    OCTAVO_LAMBDA { each<4>([&]<int lane>(Int<lane>) OCTAVO_LAMBDA { step<lane, M, NV>(acc, x, b); }); });
      a += 16;
      b += 4 * step_bytes;
    }
    if (steps > 0) {
      with_rows([&](const Registers<typename D::B, M>& x) OCTAVO_LAMBDA {
        each<3>([&]<int lane>(Int<lane>) OCTAVO_LAMBDA {
          if (lane < steps) step<lane, M, NV>(acc, x, b);
        });
      });
    }
  }
};

// One fma per value of K, in order: the bits do not depend on the tile.
struct Fma : Sve {
  using Acc = F;
  using Element = float;
  using B = svfloat32_t;
  static constexpr bool integer = false, flip = false;
  static OCTAVO_INLINE Acc zero() { return splat(0.0f); }
  static OCTAVO_INLINE B load_a(const char* p) { return svld1rq_f32(svptrue_b32(), reinterpret_cast<const float*>(p)); }
  template <int v>
  static OCTAVO_INLINE B load_b(const char* p) {
    return svld1_vnum_f32(svptrue_b32(), reinterpret_cast<const float*>(p), v);
  }
  template <int Lane>
  static OCTAVO_INLINE Acc dot(Acc acc, B b, B a) {
    return svmla_lane_f32(acc, b, a, Lane);
  }
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA

using namespace octavo;
using namespace octavo::OCTAVO_ISA;
extern "C" {
void octavo_brgemm_u8s8_sve_48x64x4(const BrgemmArgs* g) { block_brgemm<Broadcast<Sdot<true>>>(*g); }
void octavo_brgemm_s8s8_sve_48x64x4(const BrgemmArgs* g) { block_brgemm<Broadcast<Sdot<false>>>(*g); }
void octavo_brgemm_f32f32_sve_6x64x1(const BrgemmArgs* g) { block_brgemm<ByLane<Fma>>(*g); }
}
