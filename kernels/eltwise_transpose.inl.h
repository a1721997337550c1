// Transposes. Registers of 16-byte lanes hold rows of a small square each; the square is transposed by interleaving its halves, and a
// register of L lanes does so for L squares below each other, whose columns then stand behind each other as they go to memory.
//   Zip<T>: R, kLanes; load(p, stride) = lane l has 16 bytes at p + l*stride; store(p, r); low(a, b), high(a, b): the elements of
//   each lane's lower and upper half in turns

template <class Zip, class T>
OCTAVO_INLINE void transpose_squares(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride) {
  constexpr int N = 16 / int(sizeof(T));
  typename Zip::R v[N], w[N];
  // One address follows from the other, or the compiler keeps all multiples of the strides.
  OCTAVO_UNROLL
  for (int i = 0; i < N; ++i, in += in_stride) {
    asm("" : "+r"(in));
    v[i] = Zip::load(in, N * in_stride);
  }
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
  for (int i = 0; i < N; ++i, out += out_stride) {
    asm("" : "+r"(out));
    Zip::store(out, v[i]);
  }
}

// Tiles of 64 bytes by 128 rows, squares beside each other before those below: lines that are read are used whole while they are
// near, lines that are written are filled one behind the other.
template <class V, class T>
void transpose_tiles(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t cols) {
  using Wide = typename V::template Zip<T>;
  constexpr size_t kCols = 64 / sizeof(T), kSquare = 16 / sizeof(T), kTall = 128;
  const size_t whole = cols - cols % kSquare;
  const bool far = rows * cols > (size_t(1) << 20) / sizeof(T);  // in no second-level cache
  const auto one = [=](size_t i, size_t j) OCTAVO_LAMBDA {
    out[ptrdiff_t(j) * out_stride + ptrdiff_t(i)] = in[ptrdiff_t(i) * in_stride + ptrdiff_t(j)];
  };
  for (size_t i0 = 0; i0 < rows; i0 += kTall) {
    const size_t i1 = i0 + kTall < rows ? i0 + kTall : rows;
    for (size_t j0 = 0; j0 < whole; j0 += kCols) {
      const size_t j1 = j0 + kCols < whole ? j0 + kCols : whole;
      // Too many streams for the core to see them coming: the same rows two tiles further, or rows below of a single tile.
      const ptrdiff_t ahead = j1 < whole ? ptrdiff_t(2 * kCols) : ptrdiff_t(kTall / 2) * in_stride;
      size_t i = i0;
      const auto squares = [&]<class Zip>(Zip) OCTAVO_LAMBDA {
        constexpr size_t kHeight = kSquare * size_t(Zip::kLanes), kPart = kHeight / 4;
        for (; i + kHeight <= i1; i += kHeight) {
          const T* from = in + ptrdiff_t(i) * in_stride + ptrdiff_t(j0);
          const T* next = from + ahead;
          T* to = out + ptrdiff_t(j0) * out_stride + ptrdiff_t(i);
          const auto square = [&]() OCTAVO_LAMBDA {
            if (far) {
              OCTAVO_UNROLL
              for (size_t k = 0; k < kPart; ++k, next += in_stride) __builtin_prefetch(next, 0, 2);
            }
            transpose_squares<Zip>(from, in_stride, to, out_stride);
            from += kSquare, to += ptrdiff_t(kSquare) * out_stride;
          };
          if (sizeof(T) == 4 && j1 - j0 == kCols)  // whole lines, whose loop would take as long as two squares of words
            square(), square(), square(), square();
          else
            for (size_t j = j0; j < j1; j += kSquare) square();
        }
      };
      squares(Wide{});
      squares(OneLane<T>{});
      for (; i < i1; ++i)
        for (size_t j = j0; j < j1; ++j) one(i, j);
    }
    for (size_t j = whole; j < cols; ++j)
      for (size_t i = i0; i < i1; ++i) one(i, j);
  }
}
// A few dense rows become a dense matrix of as many columns: an image [c][h*w] and its pixels. With the number of rows known the
// compiler interleaves whole vectors; V may do three rows better.
template <class V, size_t kRows, class T>
void interleave(const T* in, ptrdiff_t in_stride, T* out, size_t cols) {
  size_t j = 0;
  if constexpr (kRows == 3 && requires { V::interleave(in, in, in, out); })
    for (constexpr size_t kCols = 32 / sizeof(T); j + kCols <= cols; j += kCols)
      V::interleave(in + j, in + in_stride + ptrdiff_t(j), in + 2 * in_stride + ptrdiff_t(j), out + 3 * j);
  for (; j < cols; ++j)
    for (size_t i = 0; i < kRows; ++i) out[j * kRows + i] = in[ptrdiff_t(i) * in_stride + ptrdiff_t(j)];
}
template <class V, class T>
void transpose_as(const T* in, ptrdiff_t in_stride, T* out, ptrdiff_t out_stride, size_t rows, size_t cols) {
  if (rows == 2 && out_stride == 2) return interleave<V, 2>(in, in_stride, out, cols);
  if (rows == 3 && out_stride == 3) return interleave<V, 3>(in, in_stride, out, cols);
  if (rows == 4 && out_stride == 4) return interleave<V, 4>(in, in_stride, out, cols);
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
