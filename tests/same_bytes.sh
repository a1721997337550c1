#!/bin/sh
# Usage: same_bytes.sh NATIVE_BUILD CROSS_BUILD EMULATOR DEMO_FOLDER DATA_FOLDER. What a build for this machine and one for another
# architecture, in an emulator (on the CPU model QEMU_CPU), write, byte for byte: the demo and ResNet-20, quantized, and their
# scores; and the outputs of whole models. This machine's part is kept in CROSS_BUILD for the next CPU model.
set -eu
native=$1 cross=$2 emulator=$3 demo=$4 data=$5
for program in "$native/octavo" "$native/tests/graph_bits_test"; do
  [ -x "$program" ] || { echo "skipped: there is no $program to compare with (build the preset release)"; exit 77; }
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
unset OCTAVO_ISA

score() {  # score MODEL FLOAT CALIBRATION SAMPLES TEST SAMPLES RUN...: MODEL.RECIPE.onnx, and what it scores beside FLOAT
  model=$1 float=$2 calibration=$3 to_calibrate=$4 test=$5 to_score=$6
  shift 6
  for recipe in x86_static arm_static; do
    "$@" quantize "$float" -o int8.onnx --recipe $recipe --calib "$calibration" --samples "$to_calibrate" --force-int8 > /dev/null
    "$@" eval int8.onnx --data "$test" --samples "$to_score" --compare "$float" --json | grep -vF "$float" > "$model.$recipe.json"
    [ -s "$model.$recipe.json" ]  # the pipe hides a failure
    mv int8.onnx "$model.$recipe.onnx"
  done
}

flow() {  # flow FOLDER BUILD [EMULATOR]
  mkdir -p "$1/models"
  (cd "$1"
   score demo "$demo/digits_float.onnx" "$demo/digits_calib.npz" 20 "$demo/digits_test.npz" 100 ${3-} "$2/octavo"
   [ ! -e "$out/test.npz" ] || score resnet20 "$resnet20" "$out/calib.npz" 4 "$out/test.npz" 8 ${3-} "$2/octavo"
   OCTAVO_WRITE_BITS=models ${3-} "$2/tests/graph_bits_test" --gtest_filter='Demo.*:Models/Bits.*:Models/QuantizedBits.*' > "$out/log" ||
     { cat "$out/log"; exit 1; })
}

resnet20=$data/cifar10-resnet/resnet20_cifar10_fp32.onnx
if [ -e "$resnet20" ]; then
  convert=$(dirname "$0")/cifar10_npz.py
  python3 "$convert" "$data/cifar10/cifar10_train3k_calib.bin" 4 "$out/calib.npz"
  python3 "$convert" "$data/cifar10/cifar10_test_visible2000.bin" 8 "$out/test.npz"
else
  echo "not compared: there is no $resnet20"
fi

here=$cross/same_bytes
for file in "$native/octavo" "$native/tests/graph_bits_test" "$0"; do
  if [ -e "$here" ] && [ "$file" -nt "$here" ]; then rm -rf "$here"; fi
done
if [ ! -e "$here" ]; then
  rm -rf "$here.part"
  flow "$here.part" "$native"
  mv "$here.part" "$here"
fi
flow "$out/cross" "$cross" "$emulator"
diff -r "$here" "$out/cross"
echo "the same bytes on ${QEMU_CPU-the emulated CPU} and here: $(cd "$here" && find . -type f | wc -l) files"
