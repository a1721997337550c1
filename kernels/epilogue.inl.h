// THE epilogue of every vector brgemm: the formulas of EpilogueArgs (octavo/ukernel.h) on accumulators in registers.
//
// Each kind of output is a class: made once for some columns, it holds their constants; called, it takes rows of accumulators
// (V::I, or V::F of an f32 kernel) to memory. with_epilogue() picks the one that a call asks for. Where the last register is not full,
// a residual is read for all rows before the first is written: if it is C itself, a load would wait for the masked store of the row
// before, whose register reaches into it.
#pragma once

#include "kernels/unroll.inl.h"
#include "octavo/ukernel.h"

namespace octavo::OCTAVO_ISA {
namespace {

// V: the register vocabulary. NV: vectors of columns. Full: the last of them has all its columns; otherwise `part` says which.
template <class V, int NV, bool Full>
class Columns {
 public:
  OCTAVO_INLINE Columns(const BrgemmArgs& g, const typename V::Part& part)
      : stride_(g.c_stride_bytes), residual_stride_(g.epi->residual_stride_bytes), count_(g.n), part_(part) {}

 protected:
  using F = typename V::F;
  using I = typename V::I;

  static constexpr bool whole(int v) { return Full || v < NV - 1; }
  OCTAVO_INLINE F load(const float* p, int v) const {
    return whole(v) ? V::load(p + v * V::lanes) : V::load(p + v * V::lanes, part_);
  }
  template <class X>
  OCTAVO_INLINE void store(char* c, int v, X x) const {
    c += v * V::lanes * 4;
    whole(v) ? V::store(c, x) : V::store(c, x, part_);
  }

  ptrdiff_t stride_, residual_stride_;
  int count_;
  typename V::Part part_;
};

template <class V, int NV, bool Full>
class OutS32 : Columns<V, NV, Full> {
 public:
  static constexpr bool residual = false;
  using Columns<V, NV, Full>::Columns;

  template <class Acc, int M>
  OCTAVO_INLINE void operator()(const Acc (&acc)[M][NV], char* c, const char*) const {
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i, c += this->stride_) {
      OCTAVO_UNROLL
      for (int v = 0; v < NV; ++v) this->store(c, v, acc[i][v]);
    }
  }
};

template <class V, int NV, bool Full, bool Residual>
class OutF32 : Columns<V, NV, Full> {
  using Base = Columns<V, NV, Full>;
  using F = typename V::F;
  static constexpr bool kReadsFirst = Residual && !Full;

 public:
  static constexpr bool residual = Residual;
  OCTAVO_INLINE OutF32(const BrgemmArgs& g, const typename V::Part& part)
      : Base(g, part), lo_(V::splat(g.epi->lo)), hi_(V::splat(g.epi->hi)) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) {
      if constexpr (V::a_bytes == 1) scale_[v] = this->load(g.epi->scale, v);
      bias_[v] = g.epi->bias_f32 ? this->load(g.epi->bias_f32, v) : V::splat(0.0f);
    }
  }

  template <class Acc, int M>
  OCTAVO_INLINE void operator()(const Acc (&acc)[M][NV], char* c, const char* r) const {
    const auto value = [&](const Acc& x, int v) OCTAVO_LAMBDA {
      if constexpr (V::a_bytes == 1) {
        return V::fma(V::to_float(x), scale_[v], bias_[v]);
      } else {
        return V::add(x, bias_[v]);
      }
    };
    const auto put = [&](int v, F f) OCTAVO_LAMBDA { this->store(c, v, V::min(V::max(f, lo_), hi_)); };
    if constexpr (kReadsFirst) {
      F all[M][NV];
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i, r += this->residual_stride_) {
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) all[i][v] = V::add(value(acc[i][v], v), this->load(reinterpret_cast<const float*>(r), v));
      }
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i, c += this->stride_) {
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) put(v, all[i][v]);
      }
    } else {
      OCTAVO_UNROLL
      for (int i = 0; i < M; ++i, c += this->stride_) {
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) {
          F f = value(acc[i][v], v);
          if constexpr (Residual) f = V::add(f, this->load(reinterpret_cast<const float*>(r), v));
          put(v, f);
        }
        if constexpr (Residual) r += this->residual_stride_;
      }
    }
  }

 private:
  F lo_, hi_, scale_[V::a_bytes == 1 ? NV : 1], bias_[NV];
};

// u8 and s8. Rounding is monotone: rne(clamp(v, lo, hi)) = clamp(rne(v), rne(lo), rne(hi)), so the bounds are taken on packed
// integers. With x = rne(v), what is stored is min(max(x - lo, 0), hi - lo) + (lo + zp), the last sum modulo 256. Packs and
// the sum on 16 bits saturate, without harm since bounds are small; the pack to u8 is the max. Without Fits a bound must come
// before the conversion: the upper one where it turns what does not fit, and NaN, into INT32_MIN (x86); the lower one where it
// saturates, but turns NaN into 0 (Arm).
template <class V, int NV, bool Full, bool Residual, bool Fits>
class OutQ8 : Columns<V, NV, Full> {
  using Base = Columns<V, NV, Full>;
  using F = typename V::F;
  using I = typename V::I;
  static constexpr bool kReadsFirst = Residual && !Full;

 public:
  static constexpr bool residual = Residual;
  OCTAVO_INLINE OutQ8(const BrgemmArgs& g, const typename V::Part& part)
      : Base(g, part), bound_(V::splat(V::saturates ? g.epi->lo : g.epi->hi)) {
    const EpilogueArgs& e = *g.epi;
    const int lo = V::round(e.lo);
    minus_lo_ = V::splat16(-lo), range_ = V::splat8(V::round(e.hi) - lo), base_ = V::splat8(lo + e.zp);
    if constexpr (Residual) {
      r_bump_ = e.residual_dtype == DType::s8 ? 128 : 0;
      r_zp_ = V::splat(e.residual_zp + r_bump_);
      r_scale_ = V::splat(e.residual_scale);
    }
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) scale_[v] = this->load(e.scale, v);
  }
  // Whether float(acc) * scale[j] converts to s32 whatever acc is. Multipliers of quantized networks are far below 1.
  OCTAVO_INLINE bool fits() const {
    bool all = true;
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) all &= V::below(scale_[v], 1.0f);
    return all;
  }

  template <class Acc, int M>
  OCTAVO_INLINE void operator()(const Acc (&acc)[M][NV], char* c, const char* r) const {
    constexpr int kRows = 4 / NV;  // of C in one register of bytes
    const auto store_rows = [&](int i, I bytes) OCTAVO_LAMBDA {
      OCTAVO_UNROLL
      for (int j = 0; j < kRows; ++j) {
        if (i + j >= M) continue;
        if constexpr (Full && 4 % NV == 0) {
          V::template store8<kRows>(c, bytes, j);
        } else {
          V::template store8<kRows>(c, bytes, j, this->count_);
        }
        c += this->stride_;
      }
    };
    [[maybe_unused]] I all[(M + kRows - 1) / kRows];
    OCTAVO_UNROLL
    for (int i = 0; i < M; i += kRows) {
      I q[4];
      OCTAVO_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int y = x < kRows * NV ? x : 0;  // NV = 3 leaves a quarter unused
        const int row = i + y / NV < M ? i + y / NV : M - 1, v = y % NV;
        F f = V::to_float(acc[row][v]);
        if constexpr (Residual) {
          const char* p = r + row * this->residual_stride_ + v * V::lanes;
          const I given = V::widen(this->whole(v) ? V::load8(p) : V::load8(p, this->part_), r_bump_);
          f = V::fma(f, scale_[v], V::mul(V::to_float(V::sub(given, r_zp_)), r_scale_));
        } else {
          f = V::mul(f, scale_[v]);
        }
        if constexpr (!Fits) f = V::saturates ? V::max(f, bound_) : V::min(bound_, f);
        q[x] = V::round(f);
      }
      const I low = V::adds16(V::pack16(q[0], q[1]), minus_lo_), high = V::adds16(V::pack16(q[2], q[3]), minus_lo_);
      I bytes = V::packu8(low, high);
      if constexpr (Fits || V::saturates) bytes = V::min8(bytes, range_);
      bytes = V::add8(bytes, base_);
      if constexpr (kReadsFirst) {
        all[i / kRows] = bytes;
      } else {
        store_rows(i, bytes);
      }
    }
    if constexpr (kReadsFirst) {
      OCTAVO_UNROLL
      for (int i = 0; i < M; i += kRows) store_rows(i, all[i / kRows]);
    }
  }

 private:
  F bound_, scale_[NV], r_scale_;
  I minus_lo_, range_, base_, r_zp_;
  int r_bump_ = 0;
};

// u8 and s8 where additions do what conversions would, because the caller promises that all is small (V::kMagic). Adding 1.5 *
// 2^23 rounds to an integer, half to even, which then is in the low bits; 2 * floor(lo / 2) is taken off in the same addition,
// which leaves x - lo or one more in 16 bits. Seeded: the same number was in the accumulators from the start, so that they are
// floats. Conversions keep one of two pipes busy twice as long as additions do, and packs that saturate keep the other.
template <class V, int NV, bool Full, bool Seeded>
class OutSmall8 : Columns<V, NV, Full> {
  using F = typename V::F;
  using I = typename V::I;

 public:
  static constexpr bool residual = false;
  OCTAVO_INLINE OutSmall8(const BrgemmArgs& g, const typename V::Part& part) : Columns<V, NV, Full>(g, part) {
    const EpilogueArgs& e = *g.epi;
    const int lo = V::round(e.lo), range = V::round(e.hi) - lo;
    const int odd = lo & 1;
    plain_ = odd == 0 && range == 255;
    magic_ = V::splat(V::kMagic), round_ = V::splat(V::kMagic - float(lo - odd));
    minus_odd_ = V::splat16(-odd), range_ = V::splat8(range), base_ = V::splat8(lo + e.zp);
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) scale_[v] = this->load(e.scale, v);
  }

  template <class Acc, int M>
  OCTAVO_INLINE void operator()(const Acc (&acc)[M][NV], char* c, const char*) const {
    plain_ ? rows<true>(acc, c) : rows<false>(acc, c);
  }

 private:
  // Plain: all values of the type, and an even lower bound.
  template <bool Plain, class Acc, int M>
  OCTAVO_INLINE void rows(const Acc (&acc)[M][NV], char* c) const {
    constexpr int kRows = 4 / NV;  // of C in one register of bytes
    OCTAVO_UNROLL
    for (int i = 0; i < M; i += kRows) {
      I q[4];
      OCTAVO_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int y = x < kRows * NV ? x : 0;
        const int row = i + y / NV < M ? i + y / NV : M - 1, v = y % NV;
        const F f = Seeded ? V::sub(V::as_float(acc[row][v]), magic_) : V::to_float(acc[row][v]);
        q[x] = V::as_bits(V::add(V::mul(f, scale_[v]), round_));
      }
      I low = V::low16(q[0], q[1]), high = V::low16(q[2], q[3]);
      if constexpr (!Plain) low = V::adds16(low, minus_odd_), high = V::adds16(high, minus_odd_);
      I bytes = V::packu8(low, high);
      if constexpr (!Plain) bytes = V::min8(bytes, range_);
      bytes = V::add8(bytes, base_);
      OCTAVO_UNROLL
      for (int j = 0; j < kRows; ++j) {
        if (i + j >= M) continue;
        if constexpr (Full && 4 % NV == 0) {
          V::template store8<kRows>(c, bytes, j);
        } else {
          V::template store8<kRows>(c, bytes, j, this->count_);
        }
        c += this->stride_;
      }
    }
  }

  F magic_, round_, scale_[NV];
  I minus_odd_, range_, base_;
  bool plain_;
};

// Whether OutSmall8 may be used: values and bounds, which are within 255 of each other, fit 16 bits together.
OCTAVO_INLINE bool is_small(const EpilogueArgs& e) {
  return (e.out == DType::u8 || e.out == DType::s8) && !e.residual && e.largest_out < 32000.0f;
}
// Whether it may be Seeded.
OCTAVO_INLINE bool is_seeded(const EpilogueArgs& e) { return is_small(e) && e.largest_acc < 4194304.0f; }

// The epilogue of one of many groups of rows. Its constants are read from memory for each where products need all registers
// (K::rereads), and with a residual, where they are too many anyway.
template <class K, class Out>
OCTAVO_INLINE const Out& for_group(const Out& epilogue) {
  const Out* out = &epilogue;
  if constexpr (requires { K::rereads; } || Out::residual) asm volatile("" : "+r"(out));
  return *out;
}

// Calls run(epilogue).
template <class V, int NV, bool Full, class Run>
OCTAVO_INLINE void with_epilogue(const BrgemmArgs& g, const typename V::Part& part, const Run& run) {
  const EpilogueArgs& e = *g.epi;
  if constexpr (V::a_bytes == 4) {
    return e.residual ? run(OutF32<V, NV, Full, true>(g, part)) : run(OutF32<V, NV, Full, false>(g, part));
  } else {
    if (e.out == DType::s32) return run(OutS32<V, NV, Full>(g, part));
    if (e.out == DType::f32)
      return e.residual ? run(OutF32<V, NV, Full, true>(g, part)) : run(OutF32<V, NV, Full, false>(g, part));
    if constexpr (requires { V::kMagic; }) {
      if (is_seeded(e)) return run(OutSmall8<V, NV, Full, true>(g, part));
      if (is_small(e)) return run(OutSmall8<V, NV, Full, false>(g, part));
    }
    if (e.residual) return run(OutQ8<V, NV, Full, true, false>(g, part));
    return OutQ8<V, NV, Full, false, true>(g, part).fits() ? run(OutQ8<V, NV, Full, false, true>(g, part))
                                                           : run(OutQ8<V, NV, Full, false, false>(g, part));
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
