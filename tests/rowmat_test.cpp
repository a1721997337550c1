// Every table of kernels that take a matrix as it lies, to multiply a row by it or to make panels of it: tails, extremes and guard
// pages.
#include "octavo/rowmat.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "octavo/types.h"
#include "test_util.h"

namespace octavo {
namespace {
using namespace test;

void check(Noise& noise, const RowMatrixKernels& table, int64_t k, int64_t n, bool dense_rows, DType b, bool extreme) {
  const int64_t lines = dense_rows ? k : n, line = dense_rows ? n : k, stride = line + noise.integer(0, 5);
  const size_t b_bytes = size_t((lines - 1) * stride + line), padded = size_t((k + kRowMatrixPad - 1) / kRowMatrixPad * kRowMatrixPad);
  const bool right = noise.integer(0, 1);
  const auto place = [&](GuardedBuffer& buffer, size_t bytes) { return right ? buffer.right(bytes) : buffer.left(bytes); };
  GuardedBuffer a_memory(padded * 2), b_memory(b_bytes), c_memory(size_t(n) * 4);
  std::vector<int16_t> a(padded);
  for (int64_t p = 0; p < k; ++p) a[size_t(p)] = int16_t(extreme ? (k % 2 ? 255 : -255) : noise.integer(-255, 255));
  char* a_at = place(a_memory, padded * 2);
  std::memcpy(a_at, a.data(), padded * 2);
  char* b_at = place(b_memory, b_bytes);
  noise.fill(reinterpret_cast<int8_t*>(b_at), b_bytes);
  if (extreme) std::memset(b_at, b == DType::u8 ? 255 : -128, b_bytes);
  char* c_at = place(c_memory, size_t(n) * 4);
  const RowMatrixArgs g{reinterpret_cast<const int16_t*>(a_at), b_at, stride, k, n, reinterpret_cast<int32_t*>(c_at)};
  const auto run = dense_rows ? (b == DType::u8 ? table.rows_u8 : table.rows_s8) : (b == DType::u8 ? table.columns_u8 : table.columns_s8);
  run(&g);
  for (int64_t j = 0; j < n; ++j) {
    uint32_t sum = 0;
    for (int64_t p = 0; p < k; ++p) {
      const char byte = b_at[dense_rows ? p * stride + j : j * stride + p];
      sum += uint32_t(int32_t(a[size_t(p)]) * (b == DType::u8 ? int32_t(uint8_t(byte)) : int32_t(int8_t(byte))));
    }
    int32_t got;
    std::memcpy(&got, c_at + 4 * j, 4);
    ASSERT_EQ(int32_t(sum), got) << table.name << (dense_rows ? " rows " : " columns ") << name_of(b) << " k " << k << " n " << n << " column " << j;
  }
}

TEST(RowMatrix, EqualsPlainSums) {
  Noise noise(31);
  for (const RowMatrixKernels& table : row_matrix_tables()) {
    if (!covers(detected_isa(), table.needs)) continue;
    for (bool dense_rows : {false, true})
      for (DType b : {DType::u8, DType::s8})
        for (int64_t k : {1, 2, 3, 15, 16, 17, 31, 32, 33, 64, 127, 513})
          for (int64_t n : {1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 63, 64, 65, 100, 129})
            for (bool extreme : {false, true}) {
              check(noise, table, k, n, dense_rows, b, extreme);
              if (HasFatalFailure()) return;
            }
  }
}

TEST(RowMatrix, FirstEligibleTableWins) {
  EXPECT_STREQ(row_matrix_kernels(Isa::scalar).name, "rowmat_scalar");
  for (const RowMatrixKernels& t : row_matrix_tables()) EXPECT_STREQ(row_matrix_kernels(t.needs).name, t.name);
}

// Every byte of the panels, from memory that held something else; b: u8, s8 or f32.
void check_panels(Noise& noise, const PanelKernels& table, int64_t k, int64_t n, bool dense_rows, DType b) {
  const int64_t size = int64_t(size_of(b)), lines = dense_rows ? k : n, line = (dense_rows ? n : k) * size,
                stride = line + size * noise.integer(0, 5), kr = table.word_bytes / size, nr = table.nr;
  const size_t b_bytes = size_t((lines - 1) * stride + line);
  const PackFormat format{uint8_t(nr), uint8_t(kr), uint8_t(size)};
  ASSERT_TRUE(table.makes(format));
  const size_t panel = panel_bytes(format, k), panels = size_t((n + nr - 1) / nr), gap = noise.integer(0, 1) ? panel : 0;
  const bool right = noise.integer(0, 1), is_u8 = b == DType::u8, sums_wanted = b != DType::f32 && noise.integer(0, 3) > 0;
  const auto place = [&](GuardedBuffer& buffer, size_t bytes) { return right ? buffer.right(bytes) : buffer.left(bytes); };
  GuardedBuffer b_memory(b_bytes), to_memory(panels * (panel + gap) + 64), sums_memory(size_t(n) * 4);
  char* b_at = place(b_memory, b_bytes);
  noise.fill(reinterpret_cast<int8_t*>(b_at), b_bytes);
  char* to = to_memory.right(panels * (panel + gap), 64);
  std::memset(to, 77, panels * (panel + gap));
  std::vector<int32_t> sums(size_t(n), 1000);
  char* sums_at = place(sums_memory, size_t(n) * 4);
  std::memcpy(sums_at, sums.data(), size_t(n) * 4);
  PanelArgs g{b_at, stride, k, n, int32_t(size), is_u8, to, ptrdiff_t(panel + gap)};
  if (sums_wanted) g.sums = reinterpret_cast<int32_t*>(sums_at);
  dense_rows ? table.rows(&g) : table.columns(&g);
  const std::string what = std::string(table.name) + (dense_rows ? " rows " : " columns ") + name_of(b) + " k " +
                           std::to_string(k) + " n " + std::to_string(n);
  std::string expected(panels * (panel + gap), char(77));
  for (size_t p = 0; p < panels; ++p) expected.replace(p * (panel + gap), panel, panel, '\0');
  for (int64_t p = 0; p < k; ++p)
    for (int64_t j = 0; j < n; ++j) {
      const char* from = b_at + (dense_rows ? p * stride + j * size : j * stride + p * size);
      char* at = &expected[size_t(j / nr) * (panel + gap) + size_t((p / kr * nr + j % nr) * kr + p % kr) * size_t(size)];
      std::memcpy(at, from, size_t(size));
      if (is_u8) *at = char(*at ^ 0x80);
      if (sums_wanted) sums[size_t(j)] += int8_t(*at);
    }
  ASSERT_TRUE(std::memcmp(to, expected.data(), expected.size()) == 0) << what;
  ASSERT_TRUE(std::memcmp(sums_at, sums.data(), size_t(n) * 4) == 0) << what;
}

TEST(PanelKernels, MakeTheFormat) {
  Noise noise(32);
  for (const PanelKernels& table : panel_kernel_tables()) {
    if (!covers(detected_isa(), table.needs)) continue;
    for (bool dense_rows : {false, true})
      for (DType b : {DType::u8, DType::s8, DType::f32})
        for (int64_t k : {1, 2, 3, 4, 5, 7, 15, 16, 17, 31, 64, 127, 128, 129, 300})
          for (int64_t n : {1, 2, 7, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 77, 100}) {
            check_panels(noise, table, k, n, dense_rows, b);
            if (HasFatalFailure()) return;
          }
  }
}

TEST(PanelKernels, FirstEligibleTableWins) {
  EXPECT_EQ(panel_kernels({32, 4, 1, 0}, Isa::scalar), nullptr);
  EXPECT_EQ(panel_kernels({5, 3, 2, 0}, detected_isa()), nullptr);
  for (const PanelKernels& t : panel_kernel_tables())
    EXPECT_EQ(panel_kernels({t.nr, t.word_bytes, 1, 0}, t.needs), &t) << t.name;
}

}  // namespace
}  // namespace octavo
