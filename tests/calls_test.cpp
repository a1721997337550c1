// What run() must not do: allocate, free, lock, or enter the system. Counted in this process by taking the place of the C
// library's functions, and proven in a child in which the first system call is the last.
#include <dlfcn.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <functional>
#include <mutex>
#include <shared_mutex>

#include "conv_test_util.h"
#include "octavo/eltwise.h"
#include "octavo/matmul.h"
#include "sanitized.h"

namespace {
volatile bool counting = false;
volatile int calls = 0;
const char* volatile first_call = nullptr;
[[maybe_unused]] void count(const char* name) {
  if (!counting) return;
  if (calls == 0) first_call = name;
  calls = calls + 1;
}
template <class F>
F next(F, const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}
}  // namespace

#if !OCTAVO_SANITIZED
extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
void __libc_free(void*);

void* malloc(size_t n) { return count("malloc"), __libc_malloc(n); }
void* calloc(size_t n, size_t size) { return count("calloc"), __libc_calloc(n, size); }
void* realloc(void* p, size_t n) { return count("realloc"), __libc_realloc(p, n); }
void* aligned_alloc(size_t align, size_t n) { return count("aligned_alloc"), __libc_memalign(align, n); }
void* memalign(size_t align, size_t n) { return count("memalign"), __libc_memalign(align, n); }
int posix_memalign(void** p, size_t align, size_t n) {
  count("posix_memalign");
  *p = __libc_memalign(align, n);
  return *p ? 0 : ENOMEM;
}
void free(void* p) {
  count("free");
  __libc_free(p);
}
int pthread_mutex_lock(pthread_mutex_t* m) {
  static const auto real = next(&pthread_mutex_lock, "pthread_mutex_lock");
  return count("pthread_mutex_lock"), real(m);
}
int pthread_rwlock_rdlock(pthread_rwlock_t* m) {
  static const auto real = next(&pthread_rwlock_rdlock, "pthread_rwlock_rdlock");
  return count("pthread_rwlock_rdlock"), real(m);
}
int pthread_rwlock_wrlock(pthread_rwlock_t* m) {
  static const auto real = next(&pthread_rwlock_wrlock, "pthread_rwlock_wrlock");
  return count("pthread_rwlock_wrlock"), real(m);
}
}
#endif

namespace octavo {
namespace {
using namespace test;

// Every system call but the one that ends the process kills it. False where there is no seccomp (an emulated CPU).
bool forbid_system_calls() {
  sock_filter code[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, offsetof(seccomp_data, nr)},
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 1, SYS_exit_group},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_KILL_PROCESS},
  };
  const sock_fprog program{sizeof code / sizeof *code, code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

constexpr int kNoSeccomp = 77;

// How a child ends in which `run` may make no system call: 0, kNoSeccomp, or the signal that killed it.
template <class Run>
int end_of_child(const Run& run) {
  const pid_t child = fork();
  if (child == 0) {
    if (!forbid_system_calls()) _exit(kNoSeccomp);
    run();
    _exit(0);
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  return WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);
}

template <class Run>
int count_calls(const Run& run) {
  calls = 0;
  counting = true;
  run();
  counting = false;
  return calls;
}

// The child comes first, so that the first run ever is one of those that are watched.
template <class Run>
void expect_no_calls(const std::string& what, const Run& run) {
  const int end = end_of_child(run);
  EXPECT_TRUE(end == 0 || end == kNoSeccomp)
      << what << ": " << (end == SIGSYS ? "a system call" : "the child ended with ") << end;
  const int found = count_calls(run);
  EXPECT_EQ(found, 0) << what << ": the first of them is " << first_call;
}

class Calls : public ::testing::Test {
 protected:
  void SetUp() override {
    if (OCTAVO_SANITIZED) GTEST_SKIP() << "sanitizers make such calls themselves";
  }
  Noise noise_{1};
};

TEST_F(Calls, AreNoticed) {
  static std::mutex mutex;
  static std::shared_mutex shared;
  static void* volatile kept;
  EXPECT_EQ(count_calls([] { kept = ::operator new(100); }), 1);
  EXPECT_EQ(count_calls([] { ::operator delete(kept); }), 1);
  EXPECT_EQ(count_calls([] { kept = ::operator new(64, std::align_val_t(64)); }), 1);
  EXPECT_EQ(count_calls([] { ::operator delete(kept, std::align_val_t(64)); }), 1);
  EXPECT_EQ(count_calls([] { std::lock_guard lock(mutex); }), 1);
  EXPECT_EQ(count_calls([] { std::shared_lock lock(shared); }), 1);
  EXPECT_EQ(count_calls([] { std::unique_lock lock(shared); }), 1);
  const int nothing = end_of_child([] {});
  if (nothing == kNoSeccomp) GTEST_SKIP() << "no seccomp here: system calls go unnoticed";
  EXPECT_EQ(nothing, 0);
  EXPECT_EQ(end_of_child([] { (void)getppid(); }), SIGSYS);
}

// A plan on one thread: all tiles at once, and a range of them.
template <class Plan, class Args>
void expect_no_calls_in_run(const Plan& plan, const Args& args, int64_t tiles, const std::string& what) {
  GuardedBuffer workspace(plan.workspace_bytes() + 64);
  void* ws = workspace.right(plan.workspace_bytes(), 64);
  bool ok = true;
  expect_no_calls(what,
                  [&] { ok = plan.run(args, ws, single_thread()).ok() && plan.run(args, tiles / 2, tiles, ws).ok() && ok; });
  EXPECT_TRUE(ok) << what;
}

const DType kActivations[] = {DType::u8, DType::s8, DType::f32};
const DType kOutputs[] = {DType::s32, DType::f32, DType::u8, DType::s8};
bool can(DType a, DType out) { return a != DType::f32 || out == DType::f32; }

TEST_F(Calls, Gemm) {
  for (DType a : kActivations)
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a))
      for (DType out : kOutputs)
        for (const int64_t m : {1, 3, 100}) {
          if (!can(a, out)) continue;
          constexpr int64_t n = 70, k = 45;
          RandomNumerics numerics(noise_, a, out, n, k, noise_.integer(0, 1));
          numerics.add_function(noise_);
          Operand A(noise_, m, k * int64_t(size_of(a)), k * int64_t(size_of(a)), a), B(noise_, n, k * 4, k * 4, DType::f32),
              C(noise_, m, n * 4, n * 4, DType::f32), R(noise_, m, n * 4, n * 4, DType::f32);
          GemmDesc d;
          d.n = n, d.k = k, d.a = a, d.b = B.data, d.b_row_stride = n, d.b_col_stride = 1, d.numerics = numerics.value,
          d.kernel = kernel;
          const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(a) + "->" + name_of(out);
          const Expected<GemmPlan> plan = GemmPlan::create(d);
          if (!expect_plan(plan, what)) continue;
          GemmArgs g{m, A.data, k * int64_t(size_of(a)), C.data, n * 4, nullptr, 0};
          if (d.numerics.has_residual) g.residual = R.data, g.residual_stride_bytes = n * 4;
          expect_no_calls_in_run(*plan, g, plan->tiles(m), what);
        }
}

TEST_F(Calls, Matmul) {
  for (DType a : kActivations)
    for (const KernelInfo* kernel : runnable_kernels(Op::brgemm, a))
      for (DType out : kOutputs) {
        if (!can(a, out)) continue;
        constexpr int64_t batch = 2, m = 100, n = 70, k = 45;
        RandomNumerics numerics(noise_, a, out, n, k, false);
        Operand A(noise_, batch * m, k * 4, k * 4, a), B(noise_, batch * n, k * 4, k * 4, a),
            C(noise_, batch * m, n * 4, n * 4, a);
        MatmulDesc d;
        d.n = n, d.k = k, d.a = d.b = a, d.numerics = numerics.value, d.kernel = kernel;
        if (a != DType::f32) d.b_zero_point = 9;
        const std::string what = std::string(kernel ? kernel->name : "best") + " " + name_of(a) + "->" + name_of(out);
        const Expected<MatmulPlan> plan = MatmulPlan::create(d);
        if (!expect_plan(plan, what)) continue;
        MatmulArgs g;
        g.batch = batch, g.m = m, g.a = A.data, g.b = B.data, g.c = C.data, g.a_row_stride = g.b_col_stride = k * 4,
        g.b_row_stride = int64_t(size_of(a)), g.c_row_stride = n * 4, g.a_strides.batch = m * k * 4,
        g.b_strides.batch = n * k * 4, g.c_strides.batch = m * n * 4;
        expect_no_calls_in_run(*plan, g, plan->tiles(batch, 1, m), what);
      }
}

template <class Plan>
void check_conv_calls(Noise& noise, Op op, const Shape& s) {
  for (DType a : kActivations)
    for (const KernelInfo* kernel : runnable_kernels(op, a))
      for (DType out : kOutputs) {
        if (!can(a, out)) continue;
        const int64_t k = s.ic / s.groups * s.window.kh * s.window.kw, in = s.batch * s.window.ih * s.window.iw,
                      pixels = s.batch * s.window.oh() * s.window.ow();
        RandomNumerics numerics(noise, a, out, s.oc, k, noise.integer(0, 1));
        numerics.add_function(noise);
        Operand A(noise, in, s.ic * 4, s.ic * 4, a), W(noise, 1, s.oc * k * 4, 0, DType::f32),
            C(noise, pixels, s.oc * 4, s.oc * 4, DType::f32), R(noise, pixels, s.oc * 4, s.oc * 4, DType::f32);
        ConvDesc d;
        d.window = s.window, d.ic = s.ic, d.oc = s.oc, d.groups = s.groups, d.a = a, d.w = W.data, d.numerics = numerics.value,
        d.kernel = kernel;
        const std::string what =
            std::string(kernel ? kernel->name : "best") + " " + name_of(a) + "->" + name_of(out) + " " + describe(s);
        const Expected<Plan> plan = Plan::create(d);
        if (!expect_plan(plan, what)) continue;
        ConvArgs v;
        v.batch = s.batch, v.a = A.data, v.c = C.data;
        if (d.numerics.has_residual) v.residual = R.data;
        expect_no_calls_in_run(*plan, v, plan->tiles(s.batch), what);
      }
}

TEST_F(Calls, Conv) {
  const Shape shapes[] = {{window(9, 1, 1, 0), 24, 40, 1, 2},
                          {window(9, 3, 1, 1), 16, 40, 1, 1},
                          {window(15, 7, 2, 3), 3, 40, 1, 1},
                          {window(9, 3, 1, 1), 24, 24, 6, 1},
                          {window(9, 1, 2, 0), 24, 40, 1, 1}};
  for (const Shape& s : shapes) check_conv_calls<ConvPlan>(noise_, Op::brgemm, s);
}

TEST_F(Calls, Depthwise) {
  const Shape shapes[] = {{window(9, 3, 1, 1), 40, 40, 40, 2}, {window(19, 5, 2, 2), 24, 24, 24, 1}};
  for (const Shape& s : shapes) check_conv_calls<DepthwisePlan>(noise_, Op::dwconv, s);
}

TEST_F(Calls, Pool) {
  for (DType type : kActivations)
    for (PoolKind kind : {PoolKind::max, PoolKind::average})
      for (const IsaName& isa : isa_names()) {
        if (!covers(detected_isa(), isa.implies)) continue;
        PoolDesc d;
        d.kind = kind, d.window = window(11, 3, 2, 1), d.channels = 40, d.dtype = type, d.use_isa = true, d.isa = isa.implies;
        const PoolPlan plan = *PoolPlan::create(d);
        Operand A(noise_, 121, 160, 160, type), C(noise_, 36, 160, 160, type);
        ConvArgs v;
        v.batch = 1, v.a = A.data, v.c = C.data;
        expect_no_calls_in_run(plan, v, plan.tiles(1), std::string("pool ") + isa.name + " " + name_of(type));
      }
}

TEST_F(Calls, Eltwise) {
  constexpr size_t n = 333;
  Operand x(noise_, 1, n * 4, 0, DType::f32), y(noise_, 1, n * 4, 0, DType::f32), q(noise_, 1, n, 0, DType::u8);
  std::vector<float> z(n * 4);
  std::array<uint8_t, 256> table{};
  const float *fx = reinterpret_cast<const float*>(x.data), *fy = reinterpret_cast<const float*>(y.data);
  float* fz = z.data();
  const void* taps[] = {x.data, y.data};
  for (const EltwiseKernels& t : eltwise_tables()) {
    if (!covers(detected_isa(), t.needs)) continue;
    expect_no_calls(t.name, [&] {
      const QOperand a{q.data, DType::u8, 3, 0.5f};
      const QResult r{fz, DType::s8, 1, -129, 126};
      float lo, hi;
      t.quantize(fx, fz, DType::u8, n, 0.1f, 3);
      t.dequantize(q.data, DType::s8, fz, n, 0.1f, 3);
      t.requantize(a, r, n);
      t.add_quantized(a, a, r, n);
      t.mul_quantized(a, a, r, n);
      t.scale_shift_quantized(q.data, DType::s8, fx, fy, r, n);
      t.lut(q.data, fz, n, table.data());
      t.min_max(fx, n, &lo, &hi);
      for (int op = 0; op <= int(Unary::softplus); ++op) t.unary(Unary(op), fx, fz, n, 0.1f, 0.5f);
      for (int op = 0; op <= int(Binary::pow); ++op) t.binary(Binary(op), fx, 1, fy, 1, fz, n, -1, 1);
      t.clamp(fx, fz, n, -1, 1);
      t.scale_shift(fx, fx, fy, fz, n);
      fz[0] = t.sum(fx, n) + t.sum_squares(fx, n, 0.5f);
      t.add_products(fx, 1, n, fy, 0, fz, 0, 1);
      t.softmax(fx, fz, n);
      t.layer_norm(fx, fx, fy, fz, n, 1e-5f);
      t.rms_norm(fx, fy, fz, n, 1e-5f);
      const TapRows row{taps, 2, 0, 0, 1, n};
      for (DType type : {DType::u8, DType::s8, DType::f32}) t.max_taps(row, fz, type);
      t.avg_taps_f32(row, fz, 2);
      t.avg_taps_quantized(row, DType::u8, 3, 0.5f, r);
      t.transpose(q.data, 37, fz, 9, 9, 37, 1);
      t.transpose(x.data, 37, fz, 9, 9, 37, 4);
    });
  }
}

}  // namespace
}  // namespace octavo
