#!/bin/sh
# Usage: arm_kernels.sh OCTAVO TABLE [EMULATOR]. The kernels that OCTAVO chooses on the CPU model QEMU_CPU are those that TABLE
# names, and none of them is scalar.
set -eu
octavo=$1 table=$2 emulator=${3-}
cpu=${QEMU_CPU-}
unset OCTAVO_ISA
[ -n "$cpu" ] || { echo "skipped: QEMU_CPU names no CPU model"; exit 77; }
expected=$(awk -v cpu="$cpu" '$1 == cpu { for (i = 2; i <= NF; ++i) print $i }' "$table")
[ -n "$expected" ] || { echo "$table has no row for $cpu"; exit 1; }
# The registry lists the rows of an operator in order of priority, not of type.
chosen=$($emulator "$octavo" kernels --json | jq -r '
  [.kernels[] | select(.chosen)] as $k
  | (("brgemm", "dwconv", "grouped") as $op | ("u8", "s8", "f32") as $a
     | [$k[] | select(.op == $op and .a == $a) | .name] | if . == [] then "none" else .[] end),
    (.eltwise[] | select(.chosen) | .name)')
if [ "$chosen" != "$expected" ]; then
  printf '%s: expected\n%s\nbut it uses\n%s\n' "$cpu" "$expected" "$chosen"
  exit 1
fi
if echo "$chosen" | grep scalar; then
  echo "$cpu: hot operators in scalar code"
  exit 1
fi
echo "$cpu:" $chosen
