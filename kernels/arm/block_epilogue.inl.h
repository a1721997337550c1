// The formulas of EpilogueArgs (octavo/ukernel.h) on accumulators that need not be rows, in registers that need not have a size.
// A group is Rows rows of the tile and NV registers. Rows 1: register v holds columns of one row. Rows 2: what a matrix
// instruction leaves, in each 128 bits two columns of the first row, then the same two of the second:
//     register 0:  r0c0 r0c1 r1c0 r1c1 | r0c2 r0c3 r1c2 r1c3 | ...
// 8-bit results are put in rows where that is cheapest, as pairs of bytes at the end.
#pragma once

#include "kernels/arm/registers.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

// V: the register vocabulary. A vocabulary without predicates (V::predicated) takes all columns that the registers have; the
// caller gives it arrays that are long enough.
template <class V, int Groups, int NV, int Rows>
class BlockEpilogue {
 public:
  using Acc = typename V::Acc;
  using Sums = Registers<Acc, Groups * NV>;
  // The tile begins at `column` of the call's panel.
  OCTAVO_INLINE BlockEpilogue(const BrgemmArgs& g, int column, int columns)
      : e_(*g.epi), stride_(g.c_stride_bytes), rows_(g.m), column_(column), columns_(columns) {
    c_ = static_cast<char*>(g.c) + column * (e_.out == DType::s32 || e_.out == DType::f32 ? 4 : 1);
  }

  OCTAVO_INLINE void operator()(const Sums& sums) const {
    if constexpr (!V::integer) {
      return e_.residual ? f32<true>(sums) : f32<false>(sums);
    } else {
      if (e_.out == DType::s32) return s32(sums);
      if (e_.out == DType::f32) return e_.residual ? f32<true>(sums) : f32<false>(sums);
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

  // u8 and s8. What is clamped is small: adding 1.5 * 2^23 rounds it to an integer, half to even, whose low byte is that of
  // the sum. Conversions are far slower than additions on the cores that have these instructions.
  template <bool Residual>
  OCTAVO_INLINE void q8(const Sums& sums) const {
    const F lo = V::splat(e_.lo), hi = V::splat(e_.hi), magic = V::splat(12582912.0f);
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
      each<NV>([&]<int v>(Int<v>) OCTAVO_LAMBDA {
        const F s = scale<v>();
        each<Groups>([&]<int g>(Int<g>)
                         OCTAVO_LAMBDA { set<g * NV + v>(sums, round(V::mul(V::to_float(get<g * NV + v>(sums)), s))); });
      });
    }
    const Bytes zp = V::splat8(e_.zp);
    each<Groups>([&]<int g>(Int<g>) OCTAVO_LAMBDA {
      const Bytes low = V::add8(narrow<g, 0>(sums), zp);
      char* c = c_ + g * Rows * stride_;
      if constexpr (Rows == 1) {
        V::store8(c, columns_, low);
      } else {
        Bytes high = low;
        if constexpr (NV == 8) high = V::add8(narrow<g, 4>(sums), zp);
        V::store8(c, columns_, V::even16(low, high));
        if (g + 1 < Groups || g * Rows + 1 < rows_) V::store8(c + stride_, columns_, V::odd16(low, high));
      }
    });
  }

  template <int Row>
  OCTAVO_INLINE const char* residual(int bytes) const {
    return static_cast<const char*>(e_.residual) + Row * e_.residual_stride_bytes + column_ * bytes;
  }
  template <int Register>
  OCTAVO_INLINE F scale() const {
    return V::template columns<Rows, Register>(load(e_.scale + column_, Register / Rows));
  }
  // The low bytes of four registers, or of the one or two that there are.
  template <int G, int V0>
  OCTAVO_INLINE Bytes narrow(const Sums& s) const {
    constexpr int at = G * NV + V0, last = NV - V0 < 4 ? NV - V0 - 1 : 3;
    return V::narrow(get<at>(s), get<at + (last < 1 ? last : 1)>(s), get<at + (last < 2 ? last : 2)>(s), get<at + last>(s));
  }

  const EpilogueArgs& e_;
  char* c_;
  ptrdiff_t stride_;
  int rows_, column_, columns_;
};

}  // namespace
}  // namespace octavo::OCTAVO_ISA
