// THE loops of a 3x3 convolution by F(4x4, 3x3) in integers (WinogradArgs, octavo/ukernel.h): tiles to V, products, P to pixels.
//
// V: the register vocabulary (int32 lanes; words are multiplied in pairs). The products of a place are a matrix product of tiles and
// channels by channels and columns, on words that lie as they are multiplied.
#pragma once

#include "kernels/brgemm.inl.h"
#include "kernels/columns.inl.h"
#include "kernels/epilogue.inl.h"

namespace octavo::OCTAVO_ISA {
namespace {

constexpr int kPanelVectors = 2;
constexpr int64_t pairs_of(int64_t k) { return (k + 1) / 2; }

// y = T x, on words.
template <class V>
OCTAVO_INLINE void input_transform(const typename V::I (&x)[6], typename V::I (&y)[6]) {
  const auto twice = [](const auto& z) OCTAVO_LAMBDA { return V::add16(z, z); };
  const auto e = V::sub16(x[4], x[2]), f = V::sub16(x[3], x[1]), e2 = twice(e), f2 = twice(f);
  const auto g = V::sub16(e2, V::add16(x[3], twice(x[3]))), h = V::sub16(V::add16(x[2], twice(x[2])), f2);
  y[0] = V::sub16(twice(V::add16(V::sub16(x[0], x[2]), V::sub16(e, f))), f);
  y[1] = V::sub16(g, h);
  y[2] = V::add16(g, h);
  y[3] = V::add16(f, e2);
  y[4] = V::sub16(e, f2);
  y[5] = V::sub16(twice(V::sub16(V::sub16(x[5], x[3]), V::add16(e, f))), e);
}

// y = S x, modulo 2^32.
template <class V>
OCTAVO_INLINE void output_transform(const typename V::I (&x)[6], typename V::I (&y)[4]) {
  const auto a = V::add(x[1], x[2]), b = V::sub(x[1], x[2]);
  y[0] = V::add(V::add(V::add(x[0], a), x[3]), V::template shl<3>(x[4]));
  y[1] = V::add(b, V::sub(V::add(x[3], x[3]), V::template shl<2>(x[4])));
  y[2] = V::add(a, V::add(V::template shl<2>(x[3]), V::add(x[4], x[4])));
  y[3] = V::add(V::add(b, V::template shl<3>(x[3])), V::sub(x[5], x[4]));
}

// Some channels of a row of tiles: first the pixels of each column, which neighbouring tiles share, then the columns of each
// tile. `live` channels are there, of as many as a register has words.
template <class V, bool Flip>
OCTAVO_INLINE void tiles_to_v(const char* a, const WinogradArgs& g, int live, int64_t tiles, char* columns, char* v, size_t row,
                              size_t plane) {
  using I = typename V::I;
  char* column = columns;
  for (int64_t x = 0; x < 4 * tiles + 2; ++x, a += g.a_pixel_stride_bytes, column += 6 * V::vector_bytes) {
    I d[6], y[6];
    OCTAVO_UNROLL
    for (int i = 0; i < 6; ++i) d[i] = V::template widen16<Flip>(a + i * g.a_row_stride_bytes, live);
    input_transform<V>(d, y);
    OCTAVO_UNROLL
    for (int i = 0; i < 6; ++i) V::store(column + i * V::vector_bytes, y[i]);
  }
  for (; tiles > 0; --tiles, columns += 4 * 6 * V::vector_bytes, v += row) {
    char* place = v;
    for (int i = 0; i < 6; ++i) {
      I d[6], y[6];
      OCTAVO_UNROLL
      for (int j = 0; j < 6; ++j) d[j] = V::load_b(columns + (j * 6 + i) * V::vector_bytes);
      input_transform<V>(d, y);
      // u8 has 128 taken off each pixel: only the second row of T does not sum up to 0, but to -6.
      if (Flip && i == 1) y[1] = V::sub16(y[1], V::splat16(36 * 128));
      OCTAVO_UNROLL
      for (int j = 0; j < 6; ++j, place += plane) V::store(place, y[j]);
    }
  }
}

template <class V, bool Flip>
[[gnu::noinline]] void all_tiles_to_v(const WinogradArgs& g, const WinogradSpace& s) {
  constexpr int kWords = V::vector_bytes / 2;
  char* space = static_cast<char*>(g.workspace);
  char* to = space;
  each_tile_row(g, [&](int64_t y, int64_t x, int64_t n) OCTAVO_LAMBDA {
    for (int64_t t = 0; t < g.batch; ++t) {  // what a register of one has too much is of the next, which comes after it
      const char* a = static_cast<const char*>(g.a[t]) + 4 * y * g.a_row_stride_bytes + 4 * x * g.a_pixel_stride_bytes;
      char* v = to + size_t(t * pairs_of(g.k)) * 4;
      for (int64_t p = 0; p < g.k; p += kWords, a += kWords, v += V::vector_bytes)
        tiles_to_v<V, Flip>(a, g, int(g.k - p < kWords ? g.k - p : kWords), n, space + s.columns, v, s.row, s.v_plane);
    }
    to += size_t(n) * s.row;
  });
}

// M tiles and NV vectors of a panel's columns of one place: P = sum over pairs of channels.
template <class V, int M, int NV>
OCTAVO_INLINE void place_products(const char* a, ptrdiff_t row, const char* b, int64_t pairs, char* p) {
  typename V::I acc[M][NV];
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) V::keep(acc[i][v] = V::splat(0));
  }
  // Of every third row: addresses reach three.
  constexpr int kPointers = (M + 2) / 3;
  const char* from[kPointers];
  OCTAVO_UNROLL
  for (int i = 0; i < kPointers; ++i) from[i] = a + 3 * i * row;
  for (; pairs > 0; --pairs, b += kPanelVectors * V::vector_bytes) {
    asm("" : "+r"(b));
    typename V::I w[NV];
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) V::now(w[v] = V::load_b(b + v * V::vector_bytes));
    OCTAVO_UNROLL
    for (int i = 0; i < M; ++i) {
      const typename V::I x = V::splat_at(from[i / 3] + i % 3 * row);
      V::dot(acc[i], x, w);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < kPointers; ++i) {
      from[i] += 4;
      asm("" : "+r"(from[i]));
    }
  }
  OCTAVO_UNROLL
  for (int i = 0; i < M; ++i) {
    OCTAVO_UNROLL
    for (int v = 0; v < NV; ++v) V::store(p + (i * kPanelVectors + v) * V::vector_bytes, acc[i][v]);
  }
}

// The same of 1..M tiles.
template <class V, int M, int NV>
OCTAVO_INLINE void some_products(const char* a, ptrdiff_t row, const char* b, int64_t pairs, char* p, int64_t tiles) {
  if constexpr (M > 0) {
    if (tiles == M) return place_products<V, M, NV>(a, row, b, pairs, p);
    some_products<V, M - 1, NV>(a, row, b, pairs, p, tiles);
  }
}

template <class V, int M, int NV>
[[gnu::noinline]] void panel_products(const WinogradArgs& g, const WinogradSpace& s, const char* b) {
  constexpr int kTileBytes = kPanelVectors * V::vector_bytes;
  const int64_t pairs = g.batch * pairs_of(g.k), tiles = g.tiles;
  const char* v = static_cast<char*>(g.workspace);
  char* p = static_cast<char*>(g.workspace) + s.p;
  for (int place = 0; place < kWinogradPlaces; ++place, b += pairs * kTileBytes, v += s.v_plane, p += s.p_plane) {
    // No group of tiles is much smaller than others: it would wait for its own sums.
    for (int64_t t = 0, n; t < tiles; t += n) {
      const int64_t rest = tiles - t, groups = (rest + M - 1) / M;
      n = (rest + groups - 1) / groups;
      some_products<V, M, NV>(v + size_t(t) * s.row, ptrdiff_t(s.row), b, pairs, p + t * kTileBytes, n);
    }
  }
}

// The pixels of the run, NV vectors of columns. `args` says which columns, and how pixels of a row lie.
template <class V, int NV>
[[gnu::noinline]] void tiles_to_pixels(const WinogradArgs& g, const WinogradSpace& s, const BrgemmArgs& args) {
  using I = typename V::I;
  constexpr int kInverse = int(0x87654321);       // of 225, modulo 2^32
  const int live = args.n - (NV - 1) * V::lanes;  // columns of the last vector
  const typename V::Part part(live);
  I seeds[NV];
  load_seeds<V>(seeds, args, part, live);
  const I inverse = V::splat(kInverse);
  const auto run = [&]<class Out>(const Out& epilogue) OCTAVO_LAMBDA {
    const char* tile = static_cast<const char*>(g.workspace) + s.p;
    each_tile_row(g, [&](int64_t y, int64_t x, int64_t n) OCTAVO_LAMBDA {
      for (const int64_t end = x + n; x < end; ++x, tile += kPanelVectors * V::vector_bytes) {
        I half[NV][4][6];  // S P
        OCTAVO_UNROLL
        for (int v = 0; v < NV; ++v) {
          for (int j = 0; j < 6; ++j) {
            I m[6], z[4];
            OCTAVO_UNROLL
            for (int i = 0; i < 6; ++i) m[i] = V::load_b(tile + size_t(i * 6 + j) * s.p_plane + size_t(v) * V::vector_bytes);
            output_transform<V>(m, z);
            OCTAVO_UNROLL
            for (int i = 0; i < 4; ++i) half[v][i][j] = z[i];
          }
        }
        const int rows = g.h - 4 * y < 4 ? int(g.h - 4 * y) : 4, cols = g.w - 4 * x < 4 ? int(g.w - 4 * x) : 4;
        char* c = static_cast<char*>(args.c) + 4 * y * g.c_row_stride_bytes + 4 * x * g.c_pixel_stride_bytes;
        const char* residual = nullptr;
        if constexpr (Out::residual)
          residual = static_cast<const char*>(args.epi->residual) + 4 * y * g.residual_row_stride_bytes +
                     4 * x * args.epi->residual_stride_bytes;
        for (int i = 0; i < rows; ++i, c += g.c_row_stride_bytes) {
          I acc[4][NV];
          OCTAVO_UNROLL
          for (int v = 0; v < NV; ++v) {
            I z[4];
            output_transform<V>(half[v][i], z);
            OCTAVO_UNROLL
            for (int j = 0; j < 4; ++j) acc[j][v] = V::add(V::template sar<2>(V::mul_low(z[j], inverse)), seeds[v]);
          }
          if (cols == 4) {
            epilogue(acc, c, residual);
          } else {
            const char* r = residual;
            char* to = c;
            for (int j = 0; j < cols; ++j, to += g.c_pixel_stride_bytes) {
              const I(&pixel)[1][NV] = reinterpret_cast<const I(&)[1][NV]>(acc[j]);
              epilogue(pixel, to, r);
              if constexpr (Out::residual) r += args.epi->residual_stride_bytes;
            }
          }
          if constexpr (Out::residual) residual += g.residual_row_stride_bytes;
        }
      }
    });
  };
  live == V::lanes ? with_epilogue<V, NV, true>(args, part, run) : with_epilogue<V, NV, false>(args, part, run);
}

// Flip: u8, less 128. M: tiles multiplied at a time, twice as many of one vector of columns.
template <class V, bool Flip, int M>
OCTAVO_INLINE void winograd(const WinogradArgs& g, const PackFormat& format) {
  constexpr int kColumns = kPanelVectors * V::lanes;
  const WinogradSpace s(format, g.batch, g.k, g.tiles, (int64_t(g.w) + 3) / 4);
  all_tiles_to_v<V, Flip>(g, s);
  BrgemmArgs all;
  all.c = g.c, all.c_stride_bytes = g.c_pixel_stride_bytes, all.epi = g.epi;
  const char* b = static_cast<const char*>(g.b);
  for (int64_t column = 0; column < g.n; column += kColumns, b += g.b_panel_stride) {
    const SomeColumns some(all, int(column), int(g.n - column < kColumns ? g.n - column : kColumns));
    if (some.args().n > V::lanes) {
      panel_products<V, M, 2>(g, s, b);
      tiles_to_pixels<V, 2>(g, s, some.args());
    } else {
      panel_products<V, 2 * M, 1>(g, s, b);
      tiles_to_pixels<V, 1>(g, s, some.args());
    }
  }
}

}  // namespace
}  // namespace octavo::OCTAVO_ISA
