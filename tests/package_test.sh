#!/bin/sh
# Usage: package_test.sh BUILD_DIR SOURCE_DIR CXX READELF
# Installs the build, moves the tree (a package must not remember where it was made), and builds the examples against it
# from outside, with find_package and with pkg-config. The engine must need nothing but libc, libm, libstdc++ and libgcc.
set -eu
build=$1 source=$2 cxx=$3 readelf=$4

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$build" --prefix "$scratch/staged" > "$scratch/install.log" || { cat "$scratch/install.log"; exit 1; }
mv "$scratch/staged" "$scratch/prefix"
prefix=$scratch/prefix
pc=$(find "$prefix" -name octavo.pc -exec dirname {} \;)
packaged() { PKG_CONFIG_PATH=$pc pkg-config "$@"; }

only_base_libraries() {
  needed=$("$readelf" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  for library in $needed; do
    case $library in
      libc.so.*|libm.so.*|libstdc++.so.*|libgcc_s.so.*|ld-linux*) ;;
      *) echo "$1 needs $library"; exit 1 ;;
    esac
  done
}

echo "== examples/engine, find_package"
cmake -S "$source/examples/engine" -B "$scratch/engine" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$prefix"
cmake --build "$scratch/engine"
"$scratch/engine/engine"
only_base_libraries "$scratch/engine/engine"

echo "== examples/engine, pkg-config"
# The flags are lists: no quotes.
"$cxx" -std=c++20 -O2 "$source"/examples/engine/*.cpp $(packaged --cflags --libs octavo) -o "$scratch/engine_pc"
"$scratch/engine_pc"
only_base_libraries "$scratch/engine_pc"

echo "== the program in README.md"
awk '/^```cpp/ { code = 1; next } /^```/ { code = 0 } code' "$source/README.md" > "$scratch/readme.cpp"
"$cxx" -std=c++20 -Wall -Wextra -Werror "$scratch/readme.cpp" $(packaged --cflags --libs octavo) -o "$scratch/readme"
"$scratch/readme"

if [ -e "$prefix/include/octavo/kernels/x86" ] && [ "$(uname -m)" = x86_64 ]; then
  echo "== a tile of one's own, from the installed loop templates"
  cat > "$scratch/tile.cpp" << 'END'
#include "kernels/x86/dot.inl.h"
#include "kernels/x86/ymm.inl.h"
using namespace octavo::OCTAVO_ISA;
extern "C" void my_brgemm_f32f32_avx2_5x16x1(const octavo::BrgemmArgs* g) { brgemm<Fma<Ymm, 5>>(*g); }
END
  "$cxx" -std=c++20 -O2 -Wall -Wextra -Werror -mavx2 -mfma -DOCTAVO_ISA=mine -I"$prefix/include" -I"$prefix/include/octavo" \
      -c "$scratch/tile.cpp" -o "$scratch/tile.o"
fi

if [ -e "$pc/octavo-graph.pc" ]; then
  echo "== examples/resnet50, pkg-config"
  "$cxx" -std=c++20 "$source/examples/resnet50/main.cpp" $(packaged --cflags --libs octavo-graph) -o "$scratch/resnet50_pc"
  echo "== examples/resnet50, find_package(octavo COMPONENTS graph)"
  mkdir "$scratch/graph"
  cat > "$scratch/graph/CMakeLists.txt" << END
cmake_minimum_required(VERSION 3.22)
project(user LANGUAGES CXX)
find_package(octavo REQUIRED COMPONENTS graph)
add_executable(resnet50 $source/examples/resnet50/main.cpp)
target_link_libraries(resnet50 PRIVATE octavo::graph)
END
  cmake -S "$scratch/graph" -B "$scratch/graph/build" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_PREFIX_PATH="$prefix"
  cmake --build "$scratch/graph/build"
  "$prefix/bin/octavo" --help > /dev/null
fi
