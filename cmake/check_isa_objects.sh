#!/bin/sh
# Usage: check_isa_objects.sh NM READELF OBJECT... | --self-test NM READELF CXX
# An inline function compiled with -mavx512* is a weak symbol that baseline code may be linked to, and crashes on an
# older CPU. So an ISA object may define octavo_* only, may need little, and may not run code before main.
#   defined    octavo_* only. Weak: in elementwise objects only, with xsimd's architecture in the name, in one ISA only
#   undefined  octavo_*, and what the compiler itself calls: memory functions, and libm where the result is exact
#   sections   no .init_array, no .ctors
set -eu

check() {
  nm=$1 readelf=$2
  shift 2
  bad=0
  weak=$(mktemp)
  for object; do
    "$nm" --format=posix "$object" | awk -v object="$object" -v weak="$weak" '
      function fail(why) { print object ": " why ": " $1; bad = 1 }
      $2 ~ /^[a-z]$/ && $2 !~ /^[uvw]$/ { next }                       # local
      $2 == "U" {
        if ($1 !~ /^(octavo_[a-z0-9_]+|memcpy|memmove|memset|memcmp|fmaf?|l?rintf|nearbyintf|floorf|ceilf|sqrtf|_GLOBAL_OFFSET_TABLE_)$/) fail("needs")
        next
      }
      $2 ~ /^[WVuvw]$/ {
        if (object !~ /eltwise/ || $1 !~ /5xsimd/ || $1 !~ /[0-9](avx|fma3|sse|neon|sve)/) fail("weak symbol")
        else print $1 >> weak
        next
      }
      $1 !~ /^octavo_/ { fail("defines") }
      END { exit bad }' || bad=1
    if "$readelf" --sections --wide "$object" | grep -E '\.(init_array|ctors)'; then
      echo "$object: runs code before main"
      bad=1
    fi
  done
  duplicates=$(sort "$weak" | uniq -d)
  rm -f "$weak"
  if [ -n "$duplicates" ]; then
    echo "weak symbols that several ISAs define (the linker would keep one of them):"
    echo "$duplicates"
    bad=1
  fi
  [ $bad = 0 ] || return 1
  echo "$# objects, all clean"
}

self_test() {
  nm=$1 readelf=$2 cxx=$3
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  object() { printf '%s\n' "$2" | "$cxx" -std=c++20 -O0 -x c++ -c - -o "$folder/$1"; }
  object clean.o 'namespace { int twice(int x) { return 2 * x; } }  extern "C" int octavo_a(int x) { return twice(x); }'
  check "$nm" "$readelf" "$folder/clean.o" > /dev/null || { echo "self-test: a clean object was refused"; exit 1; }
  plant() {  # plant CODE: an object of it must be refused
    object bad.o "$1"
    if check "$nm" "$readelf" "$folder/bad.o" > /dev/null; then echo "self-test: not caught: $1"; exit 1; fi
  }
  plant 'inline int twice(int x) { return 2 * x; }  extern "C" int octavo_a(int x) { return twice(x); }'
  plant 'template <class T> T twice(T x) { return 2 * x; }  template int twice<int>(int);'
  plant 'int helper(int x) { return 2 * x; }'
  plant 'int needed(int);  extern "C" int octavo_a(int x) { return needed(x); }'
  plant 'extern "C" int octavo_seed();  namespace { int seed = octavo_seed(); }  extern "C" int octavo_a() { return seed; }'
  # The same weak symbol in two elementwise objects: the tag in the name does not save it.
  tagged='namespace xsimd { struct avx2; template <class> struct batch { static int f() { return 1; } }; }
          extern "C" int octavo_NAME() { return xsimd::batch<xsimd::avx2>::f(); }'
  for isa in avx2 avxvnni; do object "eltwise_$isa.o" "$(echo "$tagged" | sed "s/NAME/$isa/")"; done
  check "$nm" "$readelf" "$folder/eltwise_avx2.o" > /dev/null || { echo "self-test: a tagged weak symbol was refused"; exit 1; }
  if check "$nm" "$readelf" "$folder/eltwise_avx2.o" "$folder/eltwise_avxvnni.o" > /dev/null; then
    echo "self-test: a weak symbol of two ISAs was not caught"
    exit 1
  fi
}

if [ "$1" = --self-test ]; then shift; self_test "$@"; else check "$@"; fi
