#!/bin/sh
# Usage: emulated_cpus.sh OCTAVO DEMO_FOLDER. The same flow on a CPU without AVX, on one with AVX2, and on this machine: an
# instruction that the CPU lacks dies with SIGILL, and the quantized model and its scores must be the same bytes everywhere.
set -eu
octavo=$1
demo=$2
emulator=$(command -v qemu-x86_64-static || command -v qemu-x86_64) || { echo "skipped: no qemu-x86_64 (package qemu-user-static)"; exit 77; }
[ "$(uname -m)" = x86_64 ] || { echo "skipped: this machine is no x86-64"; exit 77; }
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

flow() {  # flow NAME COMMAND...
  name=$1
  shift
  (mkdir "$out/$name" && cd "$out/$name" || exit
   "$@" kernels --json > kernels.json
   "$@" quantize "$demo/digits_float.onnx" -o int8.onnx --calib "$demo/digits_calib.npz" --samples 20 --force-int8 > /dev/null
   "$@" eval int8.onnx --data "$demo/digits_test.npz" --samples 20 --compare "$demo/digits_float.onnx" --json | grep -v digits_float > eval.json)
}

unset OCTAVO_ISA
flow native "$octavo"
for cpu in Nehalem Haswell; do
  flow $cpu "$emulator" -cpu $cpu "$octavo"
  cmp "$out/native/int8.onnx" "$out/$cpu/int8.onnx"
  cmp "$out/native/eval.json" "$out/$cpu/eval.json"
done
uses() { tr -d ' \n' < "$out/$1/kernels.json" | grep -q "\"active\":\[$2\]" || { echo "$1 does not use [$2]"; exit 1; }; }
uses Nehalem '"scalar"'
uses Haswell '"avx2"'
echo "quantize and eval: the same bytes on Nehalem, Haswell and this machine"
