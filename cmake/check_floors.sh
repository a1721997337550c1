#!/bin/sh
# Usage: check_floors.sh SOURCE_DIR | --self-test
# Who may include what (and that nobody but kernels/ asks for an instruction set). Prints each violation.
set -eu

# Floor of a file and the includes it may have, as one regular expression over the text between the delimiters.
allowed() {
  std='<[a-z_0-9]+>'              # the standard library has no dots and no slashes
  api='"octavo/[a-z_]+\.h"'
  posix='<(unistd|fcntl|dlfcn|linux/(filter|seccomp)|sys/(mman|prctl|stat|syscall|types|wait|resource|time))\.h>'
  tiny='<(cstdint|cstddef|cstring|cmath)>'
  contract='"octavo/(ukernel|eltwise|rowmat|types|isa|quant)\.h"'
  case $1 in
    include/octavo/*)            echo "$std|$api" ;;
    kernels/kernels.h)           echo "$contract" ;;
    kernels/*/eltwise*)          echo "$tiny|$contract|\"kernels/(eltwise[a-z_0-9]*|$(arch_of "$1")/[a-z_0-9]+)\.inl\.h\"|<xsimd/[a-z_/]+\.hpp>|$(intrinsics "$1")" ;;
    kernels/eltwise*)            echo "$tiny|$contract|\"kernels/[a-z_0-9]+\.inl\.h\"|<xsimd/[a-z_/]+\.hpp>" ;;
    kernels/*/*)                 echo "$tiny|$contract|\"kernels/([a-z_0-9]+|$(arch_of "$1")/[a-z_0-9]+)\.inl\.h\"|$(intrinsics "$1")" ;;
    kernels/*)                   echo "$tiny|$contract|\"kernels/[a-z_0-9]+\.inl\.h\"" ;;
    src/registry.cpp|src/eltwise.cpp|src/rowmat.cpp) echo "$std|$api|\"src/[a-z_]+\.h\"|\"kernels/kernels\.h\"" ;;
    src/cpu.cpp|src/caches.cpp)  echo "$std|$api|\"src/[a-z_]+\.h\"|<cpuid\.h>|<sys/(auxv|prctl|sysctl)\.h>|<(asm/hwcap|linux/prctl)\.h>" ;;
    src/buffer.cpp)              echo "$std|\"src/[a-z_]+\.h\"|<sys/mman\.h>" ;;
    src/graph/*)                 echo "$std|$posix|$api|\"(onnx/|ops/)?[a-z_0-9]+\.h\"|<(onnx/|google/protobuf/|nlohmann/)[a-z_0-9/]+\.(h|hpp)>" ;;
    src/cli/*)                   echo "$std|$posix|$api|\"(src/cli/)?[a-z_0-9]+\.h\"|<(CLI|nlohmann|fmt)/[A-Za-z_0-9/]+\.(h|hpp)>|<zip\.h>" ;;
    src/*)                       echo "$std|$api|\"src/[a-z_]+\.h\"" ;;
    tests/*)                     echo "$std|$posix|$api|\"(tests/)?[a-z_0-9]+\.h\"|<(gtest|gmock|nlohmann)/[a-z_/-]+\.(h|hpp)>" ;;
    bench/peers/*)               echo "$std|$api|\"(bench/)?[a-z_0-9]+\.h\"|<(oneapi/dnnl/dnnl\.hpp|omp\.h)>" ;;
    bench/*)                     echo "$std|$api|\"(bench/)?[a-z_0-9]+\.h\"|<benchmark/benchmark\.h>" ;;
    examples/*)                  echo "$std|$api|\"[a-z_0-9]+\.h\"" ;;
  esac
}
arch_of() { f=${1#kernels/}; echo "${f%%/*}"; }
intrinsics() {
  case $(arch_of "$1") in
    x86) echo '<immintrin\.h>' ;;
    arm) echo '<arm_(neon|sve|acle)\.h>' ;;
    *) echo '<>' ;;
  esac
}

check() {
  cd "$1"
  bad=0
  for file in $(find include/octavo kernels src tests bench examples -name '*.h' -o -name '*.cpp' | sort); do
    rule=$(allowed "$file")
    if grep -HnE '^[[:space:]]*#[[:space:]]*include' "$file" | grep -vE "include[[:space:]]*($rule)"; then bad=1; fi
    case $file in
      kernels/*) ;;
      *) if grep -HnE '__(AVX|SSE|FMA|ARM_(NEON|FEATURE))|(^|[^a-z])_mm[0-9]*_' "$file"; then bad=1; fi ;;
    esac
  done
  [ $bad = 0 ] || { echo "floors: the includes above break DESIGN section 3"; return 1; }
}

self_test() {
  tree=$(mktemp -d)
  trap 'rm -rf "$tree"' EXIT
  plant() {  # plant FILE LINE: this line must be caught in this file
    rm -rf "${tree:?}"/*
    for folder in include/octavo kernels/x86 kernels/arm kernels/scalar src/graph src/cli tests bench examples; do mkdir -p "$tree/$folder"; done
    printf '#include <cstdint>\n' > "$tree/$1"
    (check "$tree") > /dev/null || { echo "self-test: a clean $1 was refused"; exit 1; }
    printf '%s\n' "$2" >> "$tree/$1"
    if (check "$tree") > /dev/null; then echo "self-test: not caught in $1: $2"; exit 1; fi
  }
  plant include/octavo/a.h '#include <immintrin.h>'
  plant include/octavo/a.h '#include "kernels/kernels.h"'
  plant kernels/x86/brgemm_avx2.cpp '#include <vector>'
  plant kernels/x86/brgemm_avx2.cpp '#include <arm_neon.h>'
  plant kernels/x86/brgemm_avx2.cpp '#include <xsimd/xsimd.hpp>'
  plant kernels/x86/brgemm_avx2.cpp '#include "octavo/gemm.h"'
  plant kernels/arm/brgemm_neon.cpp '#include <immintrin.h>'
  plant kernels/arm/brgemm_neon.cpp '#include "kernels/x86/tile.inl.h"'
  plant kernels/scalar/brgemm_scalar.cpp '#include <immintrin.h>'
  plant kernels/tile.inl.h '#include <immintrin.h>'
  plant src/gemm.cpp '#include <immintrin.h>'
  plant src/gemm.cpp '#  include "kernels/kernels.h"'
  plant src/gemm.cpp '#ifdef __AVX2__'
  plant src/graph/a.cpp '#include "src/pack.h"'
  plant src/graph/a.cpp '#include "../pack.h"'
  plant src/cli/main.cpp '#include "src/pack.h"'
  plant tests/a_test.cpp '#include "kernels/kernels.h"'
  plant tests/a_test.cpp '#include "../src/pack.h"'
  plant bench/a.cpp '#include "src/pack.h"'
  plant examples/a.cpp '#include "src/pack.h"'
}

if [ "$1" = --self-test ]; then self_test; else check "$1"; fi
