#!/bin/sh
# Usage: same_bytes.sh NATIVE_BUILD CROSS_BUILD EMULATOR DEMO_FOLDER. What a build for this machine and one for another
# architecture, in an emulator, write: the quantized demo model, its scores, and the outputs of whole models, byte for byte.
set -eu
native=$1 cross=$2 emulator=$3 demo=$4
for program in "$native/octavo" "$native/tests/graph_bits_test"; do
  [ -x "$program" ] || { echo "skipped: there is no $program to compare with (build the preset release)"; exit 77; }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
unset OCTAVO_ISA

flow() {  # flow NAME BUILD [EMULATOR]
  mkdir -p "$out/$1/models"
  (cd "$out/$1"
   for recipe in x86_static arm_static; do
     ${3-} "$2/octavo" quantize "$demo/digits_float.onnx" -o int8.onnx --recipe $recipe --calib "$demo/digits_calib.npz" --samples 20 --force-int8 > /dev/null
     ${3-} "$2/octavo" eval int8.onnx --data "$demo/digits_test.npz" --compare "$demo/digits_float.onnx" --json | grep -v digits_float > $recipe.json
     mv int8.onnx $recipe.onnx
   done
   OCTAVO_WRITE_BITS=models ${3-} "$2/tests/graph_bits_test" --gtest_filter='Demo.*:Models/Bits.*:Models/QuantizedBits.*' > log || { cat log; exit 1; })
}
flow native "$native"
flow cross "$cross" "$emulator"
rm "$out"/*/log
diff -r "$out/native" "$out/cross"
echo "the same bytes on ${QEMU_CPU-the emulated CPU} and here: $(cd "$out/native" && find . -type f | wc -l) files"
