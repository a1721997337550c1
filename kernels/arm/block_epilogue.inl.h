// The formulas of EpilogueArgs (octavo/ukernel.h) on accumulators that need not be rows, in registers that need not have a size.
// A group is Rows rows of the tile and NV registers. Rows 1: register v holds columns of one row. Rows 2: what a matrix
// instruction leaves, in each 128 bits two columns of the first row, then the same two of the second:
//     register 0:  r0c0 r0c1 r1c0 r1c1 | r0c2 r0c3 r1c2 r1c3 | ...
// 8-bit results are put in rows where that is cheapest, as pairs of bytes at the end.
// What differs by column is made ready for all groups of a call, in memory: a load takes none of the pipes that multiply.
#pragma once

#include <arm_neon.h>

#include "kernels/arm/registers.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

// Rows [row, row + rows) of a call.
struct Tile {
  const BrgemmArgs& g;
  int row, rows;
};

// Adding 1.5 * 2^23 to a small float rounds it to an integer, half to even, which then is in the low bits. An integer added to the
// bits of the same number makes a float.
constexpr float kMagic = 12582912.0f;
constexpr int32_t kMagicBits = 0x4b400000;

// How a call's sums become u8 or s8 where the caller promises that all is small: they start from kMagicBits, so that they are
// floats at the end (a conversion takes as long as two or four additions), and are rounded with the zero point, or its even part,
// to integers of 16 bits. On their way to 8 bits these are clamped.
struct Small8 {
  bool use, out_signed, plain;  // plain: the bounds are those of the type, and the zero point is even
  int odd, lo, hi;              // bounds with the zero point
  float round[4];               // the same four times
  OCTAVO_INLINE explicit Small8(const EpilogueArgs& e) {
    out_signed = e.out == DType::s8;
    use = (out_signed || e.out == DType::u8) && !e.residual && e.largest_acc < 4194304.0f && e.largest_out < 32000.0f;
    odd = e.zp & 1;
    lo = int(vcvtns_s32_f32(e.lo)) + e.zp, hi = int(vcvtns_s32_f32(e.hi)) + e.zp;
    plain = !odd && hi - lo == 255;
    for (float& x : round) x = kMagic + float(e.zp - odd);
  }
};

// What sums start from and are multiplied by, in the order of a group's registers, and what else is the same for all of a call.
// Twice as long as needed, so that a whole last register fits, whatever its length is.
template <int Elements>
struct CallConstants {
  explicit CallConstants(const BrgemmArgs& g) : small8(*g.epi) {}
  alignas(64) int32_t seed[2 * Elements];
  float scale[2 * Elements];
  const Small8 small8;
};

// V: the register vocabulary. A vocabulary without predicates (V::predicated) takes all columns that the registers have; the
// caller gives it arrays that are long enough.
template <class V, int Groups, int NV, int Rows>
class BlockEpilogue {
 public:
  using Acc = typename V::Acc;
  using Sums = Registers<Acc, Groups * NV>;
  // Some columns of the panel from `column` on; `scale` is that of CallConstants there.
  OCTAVO_INLINE BlockEpilogue(const Tile& tile, int column, int columns, const float* scale, const Small8& small8)
      : e_(*tile.g.epi), stride_(tile.g.c_stride_bytes), row_(tile.row), rows_(tile.rows), column_(column), columns_(columns),
        scale_(scale), small8_(small8) {
    c_ = static_cast<char*>(tile.g.c) + row_ * stride_ + column * (e_.out == DType::s32 || e_.out == DType::f32 ? 4 : 1);
  }

  OCTAVO_INLINE void operator()(const Sums& sums) const {
    if constexpr (!V::integer) {
      return e_.residual ? f32<true>(sums) : f32<false>(sums);
    } else {
      if (e_.out == DType::s32) return s32(sums);
      if (e_.out == DType::f32) return e_.residual ? f32<true>(sums) : f32<false>(sums);
      if constexpr (NV == 4 * Rows) {
        if (small8_.use) return small8(sums);
      }
      return e_.residual ? q8<true>(sums) : q8<false>(sums);
    }
  }

 private:
  using F = typename V::F;
  using I = typename V::I;
  using Bytes = typename V::Bytes;
  // Registers of one row, if it holds 32-bit values.
  static constexpr int kRowRegisters = NV / Rows;

  template <class T>
  OCTAVO_INLINE auto load(const T* p, int v) const {
    return V::load(p, v, columns_);
  }
  // Row `row` of group g, in row order.
  template <int G, int V0, int Row>
  OCTAVO_INLINE Acc row(const Sums& sums) const {
    if constexpr (Rows == 1) {
      return get<G * NV + V0>(sums);
    } else if constexpr (Row == 0) {
      return V::even64(get<G * NV + 2 * V0>(sums), get<G * NV + 2 * V0 + 1>(sums));
    } else {
      return V::odd64(get<G * NV + 2 * V0>(sums), get<G * NV + 2 * V0 + 1>(sums));
    }
  }
  // f(group, row of the group, row of the tile), for the rows that there are: only the very last one may be missing.
  template <class Body>
  OCTAVO_INLINE void each_row(const Body& body) const {
    each<Groups>([&]<int g>(Int<g>) OCTAVO_LAMBDA {
      each<Rows>([&]<int r>(Int<r>) OCTAVO_LAMBDA {
        constexpr int i = g * Rows + r;
        if (Rows == 1 || i + 1 < Groups * Rows || i < rows_) body(Int<g>{}, Int<r>{}, Int<i>{});
      });
    });
  }

  OCTAVO_INLINE void s32(const Sums& sums) const {
    each_row([&]<int g, int r, int i>(Int<g>, Int<r>, Int<i>) OCTAVO_LAMBDA {
      int32_t* c = reinterpret_cast<int32_t*>(c_ + i * stride_);
      each<kRowRegisters>([&]<int v>(Int<v>) OCTAVO_LAMBDA { V::store(c, v, columns_, row<g, v, r>(sums)); });
    });
  }

  template <bool Residual>
  OCTAVO_INLINE void f32(const Sums& sums) const {
    const F lo = V::splat(e_.lo), hi = V::splat(e_.hi);
    each<kRowRegisters>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
      F scale = V::splat(0.0f);
      if constexpr (V::integer) scale = load(e_.scale + column_, v);
      const F bias = e_.bias_f32 ? load(e_.bias_f32 + column_, v) : V::splat(0.0f);
      each_row([&]<int g, int r, int i>(Int<g>, Int<r>, Int<i>) OCTAVO_LAMBDA {
        F f = bias;
        if constexpr (V::integer) {
          f = V::fma(V::to_float(row<g, v, r>(sums)), scale, bias);
        } else {
          f = V::add(row<g, v, r>(sums), bias);
        }
        if constexpr (Residual) f = V::add(f, load(reinterpret_cast<const float*>(residual<i>(4)), v));
        V::store(reinterpret_cast<float*>(c_ + i * stride_), v, columns_, V::clamp(f, lo, hi));
      });
    });
  }

  OCTAVO_INLINE void small8(const Sums& sums) const {
    asm volatile("" : : : "memory");  // GCC would load what other outputs need too before it asks for the output, and spill
    const F magic = V::splat(kMagic), round = V::splat(small8_.round);
    each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
      const F s = scale<v>();
      each<Groups>([&]<int g>(Int<g>) OCTAVO_LAMBDA {
        const F f = V::sub(V::as_float(get<g * NV + v>(sums)), magic);
        set<g * NV + v>(sums, V::bits(V::add(V::mul(f, s), round)));
      });
      asm volatile("" : : : "memory");  // GCC would load all scales first, and spill
    });
    if (small8_.out_signed) return small8_.plain ? bytes<true, true>(sums) : bytes<true, false>(sums);
    small8_.plain ? bytes<false, true>(sums) : bytes<false, false>(sums);
  }
  template <bool Signed, bool Plain>
  OCTAVO_INLINE void bytes(const Sums& sums) const {
    const auto odd = V::odd(small8_.odd);
    const auto lo = V::bound(small8_.lo, small8_.odd), hi = V::bound(small8_.hi, small8_.odd);
    store_rows([&]<int at, int last>(Int<at>, Int<last>) OCTAVO_LAMBDA {
      return V::template saturate<Signed, Plain>(get<at>(sums), get<at + (last < 1 ? last : 1)>(sums),
                                                 get<at + (last < 2 ? last : 2)>(sums), get<at + last>(sums), odd, lo, hi);
    });
  }

  // u8 and s8. What is clamped is small: its low byte is that of the sum with kMagic.
  template <bool Residual>
  OCTAVO_INLINE void q8(const Sums& sums) const {
    const F lo = V::splat(e_.lo), hi = V::splat(e_.hi), magic = V::splat(kMagic);
    const auto round = [&](F f) OCTAVO_LAMBDA { return V::bits(V::add(V::min(V::max(f, lo), hi), magic)); };
    if constexpr (Residual) {
      const int bump = e_.residual_dtype == DType::s8 ? 128 : 0;
      const I zp = V::splat(e_.residual_zp + bump);
      const F factor = V::splat(e_.residual_scale);
      each<Groups>([&]<int g>(Int<g>) OCTAVO_LAMBDA {
        Bytes low = V::load8(residual<g * Rows>(1), columns_, bump), high = low;
        if constexpr (Rows == 2) {
          if (g + 1 < Groups || g * Rows + 1 < rows_) high = V::load8(residual<g * Rows + 1>(1), columns_, bump);
          const Bytes both = V::low16(low, high);
          high = V::high16(low, high);
          low = both;
        }
        each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
          const F r = V::mul(V::to_float(V::sub(V::template widen<v % 4>(v < 4 ? low : high), zp)), factor);
          set<g * NV + v>(sums, round(V::fma(V::to_float(get<g * NV + v>(sums)), scale<v>(), r)));
        });
      });
    } else {
      const I seed = V::splat(small8_.use ? kMagicBits : 0);
      each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
        const F s = scale<v>();
        each<Groups>([&]<int g>(Int<g>) OCTAVO_LAMBDA {
          set<g * NV + v>(sums, round(V::mul(V::to_float(V::sub(get<g * NV + v>(sums), seed)), s)));
        });
      });
    }
    const Bytes zp = V::splat8(e_.zp);
    store_rows([&]<int at, int last>(Int<at>, Int<last>) OCTAVO_LAMBDA {
      return V::add8(V::narrow(get<at>(sums), get<at + (last < 1 ? last : 1)>(sums), get<at + (last < 2 ? last : 2)>(sums),
                               get<at + last>(sums)),
                     zp);
    });
  }

  // narrow(at, last): the bytes of registers at to at + last, four at most.
  template <class Narrow>
  OCTAVO_INLINE void store_rows(const Narrow& narrow) const {
    each<Groups>([&]<int g>(Int<g>) OCTAVO_LAMBDA {
      const Bytes low = narrow(Int<g * NV>{}, Int<(NV < 4 ? NV : 4) - 1>{});
      char* c = c_ + g * Rows * stride_;
      if constexpr (Rows == 1) {
        V::store8(c, columns_, low);
      } else {
        Bytes high = low;
        if constexpr (NV == 8) high = narrow(Int<g * NV + 4>{}, Int<3>{});
        V::store8(c, columns_, V::even16(low, high));
        if (g + 1 < Groups || g * Rows + 1 < rows_) V::store8(c + stride_, columns_, V::odd16(low, high));
      }
    });
  }

  template <int Row>
  OCTAVO_INLINE const char* residual(int bytes) const {
    return static_cast<const char*>(e_.residual) + (row_ + Row) * e_.residual_stride_bytes + column_ * bytes;
  }
  template <int Register>
  OCTAVO_INLINE F scale() const {
    return V::load(scale_, Register);
  }

  const EpilogueArgs& e_;
  char* c_;
  ptrdiff_t stride_;
  int row_, rows_, column_, columns_;
  const float* scale_;
  const Small8& small8_;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
