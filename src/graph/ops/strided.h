// Dense row-major tensors walked by strides: what the operators that move elements share.
#pragma once

#include "ops/common.h"

namespace octavo::ops {

inline int64_t product(const int64_t* dims, int from, int to) {
  int64_t n = 1;
  for (int d = from; d < to; ++d) n *= dims[d];
  return n;
}

inline size_t byte_count(const View& v) { return size_t(v.count()) * size_of(v.dtype); }

// Copies elements to a dense output whose dimension d steps through the input by strides[d] (elements; any sign).
// Neighbouring dimensions that the input walks densely are merged, and rows of stride 1 are copied as bytes.
inline void strided_copy(const View& y, const char* base, const int64_t* strides) {
  int rank = 0;
  int64_t dims[kMaxRank], step[kMaxRank], index[kMaxRank] = {};
  for (int d = 0; d < y.rank; ++d) {
    if (y.dims[d] == 0) return;
    if (y.dims[d] == 1) continue;
    if (rank > 0 && step[rank - 1] == strides[d] * y.dims[d]) {
      dims[rank - 1] *= y.dims[d];
      step[rank - 1] = strides[d];
    } else {
      dims[rank] = y.dims[d];
      step[rank++] = strides[d];
    }
  }
  if (rank == 0) rank = 1, dims[0] = 1, step[0] = 1;
  visit_size(y.dtype, [&](auto type) {
    using T = decltype(type);
    const T* in = reinterpret_cast<const T*>(base);
    T* out = static_cast<T*>(y.data);
    const int64_t n = dims[rank - 1], stride = step[rank - 1], rows = product(dims, 0, rank - 1);
    for (int64_t row = 0; row < rows; ++row, out += n) {
      if (stride == 1) {
        std::memcpy(out, in, size_t(n) * sizeof(T));
      } else {
        for (int64_t i = 0; i < n; ++i) out[i] = in[i * stride];
      }
      for (int d = rank - 2; d >= 0; --d) {
        in += step[d];
        if (++index[d] < dims[d]) break;
        in -= step[d] * dims[d];
        index[d] = 0;
      }
    }
  });
}

inline void dense_strides(const View& x, int64_t* strides) {
  int64_t n = 1;
  for (int d = x.rank - 1; d >= 0; --d) {
    strides[d] = n;
    n *= x.dims[d];
  }
}

inline const char* element(const View& x, int64_t offset) { return static_cast<const char*>(x.data) + offset * int64_t(size_of(x.dtype)); }

}  // namespace octavo::ops
