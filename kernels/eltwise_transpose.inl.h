// Transposes. Registers of 16-byte lanes hold rows of a small square each; the square is transposed by interleaving its halves, and a
// register of L lanes does so for L squares below each other, whose columns then stand behind each other as they go to memory.
//   Zip<T>: R, kLanes; load(p, stride) = lane l has 16 bytes at p + l*stride; store(p, r); low(a, b), high(a, b): the elements of
//   each lane's lower and upper half in turns

template <class Zip, class T>
OCTAVO_INLINE void transpose_squares(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride) {
  constexpr int N = 16 / int(sizeof(T));
  typename Zip::R v[N], w[N];
  OCTAVO_UNROLL
  for (int i = 0; i < N; ++i) v[i] = Zip::load(in + i * in_stride, N * in_stride);
  OCTAVO_UNROLL
  for (int round = 1; round < N; round *= 2) {
    OCTAVO_UNROLL
    for (int i = 0; i < N / 2; ++i) {
      w[2 * i] = Zip::low(v[i], v[i + N / 2]);
      w[2 * i + 1] = Zip::high(v[i], v[i + N / 2]);
    }
    OCTAVO_UNROLL
    for (int i = 0; i < N; ++i) v[i] = w[i];
  }
  OCTAVO_UNROLL
  for (int i = 0; i < N; ++i) Zip::store(out + i * out_stride, v[i]);
}

// Tiles of 64 bytes by 128 rows: lines that are read are used whole while they are near, lines that are written are filled one
// behind the other.
template <class V, class T>
void transpose_tiles(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t cols) {
  using Wide = typename V::template Zip<T>;
  constexpr size_t kCols = 64 / sizeof(T), kSquare = 16 / sizeof(T), kRows = kSquare * size_t(Wide::kLanes), kTall = 128;
  for (size_t i0 = 0; i0 < rows; i0 += kTall) {
    const size_t i1 = i0 + kTall < rows ? i0 + kTall : rows;
    for (size_t j0 = 0; j0 < cols; j0 += kCols) {
      const size_t j1 = j0 + kCols < cols ? j0 + kCols : cols, next = j1 < cols ? j1 : j0;
      size_t j = j0;
      for (; j + kSquare <= j1; j += kSquare) {
        const T* from = in + ptrdiff_t(i0) * in_stride + ptrdiff_t(j);
        T* to = out + ptrdiff_t(j) * out_stride + ptrdiff_t(i0);
        // A quarter of the rows of the next tile: too many streams for the core to see them coming.
        const T* ahead = in + ptrdiff_t(i0 + (j - j0) / kSquare * (kRows / 4)) * in_stride + ptrdiff_t(next);
        size_t i = i0;
        for (; i + kRows <= i1; i += kRows, from += ptrdiff_t(kRows) * in_stride, ahead += ptrdiff_t(kRows) * in_stride, to += kRows) {
          OCTAVO_UNROLL
          for (size_t k = 0; k < kRows / 4; ++k) __builtin_prefetch(ahead + ptrdiff_t(k) * in_stride);
          transpose_squares<Wide>(from, in_stride, to, out_stride);
        }
        for (; i + kSquare <= i1; i += kSquare, from += ptrdiff_t(kSquare) * in_stride, to += kSquare)
          transpose_squares<OneLane<T>>(from, in_stride, to, out_stride);
        for (; i < i1; ++i, from += in_stride, ++to)
          for (size_t k = 0; k < kSquare; ++k) to[ptrdiff_t(k) * out_stride] = from[k];
      }
      for (; j < j1; ++j)
        for (size_t i = i0; i < i1; ++i)
          out[ptrdiff_t(j) * out_stride + ptrdiff_t(i)] = in[ptrdiff_t(i) * in_stride + ptrdiff_t(j)];
    }
  }
}
// A few dense rows become a dense matrix of as many columns: an image [c][h*w] and its pixels. With the number of rows known the
// compiler interleaves whole vectors.
template <size_t kRows, class T>
void interleave(const T* in, ptrdiff_t in_stride, T* out, size_t cols) {
  for (size_t j = 0; j < cols; ++j)
    for (size_t i = 0; i < kRows; ++i) out[j * kRows + i] = in[ptrdiff_t(i) * in_stride + ptrdiff_t(j)];
}
template <class V, class T>
void transpose_as(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t cols) {
  if (rows == 2 && out_stride == 2) return interleave<2>(in, in_stride, out, cols);
  if (rows == 3 && out_stride == 3) return interleave<3>(in, in_stride, out, cols);
  if (rows == 4 && out_stride == 4) return interleave<4>(in, in_stride, out, cols);
  transpose_tiles<V>(in, in_stride, out, out_stride, rows, cols);
}
template <class V>
void transpose(const void* in, ptrdiff_t in_stride, void* out, ptrdiff_t out_stride, size_t rows, size_t cols,
                      size_t bytes) {
  if (bytes == 1) {
    transpose_as<V>(static_cast<const uint8_t*>(in), in_stride, static_cast<uint8_t*>(out), out_stride, rows, cols);
  } else {
    transpose_as<V>(static_cast<const uint32_t*>(in), in_stride, static_cast<uint32_t*>(out), out_stride, rows, cols);
  }
}
