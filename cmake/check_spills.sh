#!/bin/sh
# Usage: check_spills.sh OBJDUMP OBJECT... | --self-test
# A microkernel whose innermost loop touches the stack has lost an accumulator or a pointer to it, and most of its speed.
# A hot loop is a jump back over straight code without calls that multiplies. Fails if one has an operand in memory relative to
# rsp (sp on Arm), or to an rbp (x29) that is a frame pointer, or if an object has no hot loop, since that would prove nothing.
# A depthwise loop does whole pixels, from load to store, 12 to 50 dots: there a pointer on the stack does no harm, and vector
# registers may pass through it once for every three dots.
set -eu

# Reads objdump's listing. Addresses are compared as text: of equal length after padding.
scan() {
  awk -v object="$1" '
    BEGIN { depthwise = object ~ /dwconv/ }
    function pad(hex) { return substr("0000000000000000", 1, 16 - length(hex)) hex }
    /^[0-9a-f]+ <.*>:$/ { function_name = $2; n = frame = 0; next }
    /^ *[0-9a-f]+:/ {
      address = $1
      sub(/:$/, "", address)
      ++n
      at[n] = pad(address)
      $1 = ""
      text[n] = $0
      sub(/<.*/, "", text[n])                   # names of what is called
      if ($0 ~ /mov +%rsp,%rbp|(mov|add) +x29, *sp/) frame = 1
      if ($2 !~ /^(j[a-z]+|b|b\.[a-z]+|cbn?z|tbn?z)$/) next
      # The target is the last hexadecimal word before <...>.
      target = ""
      for (i = 3; i <= NF && $i !~ /^</; ++i) target = $i
      sub(/^0x/, "", target)                    # as llvm-objdump writes it
      target = pad(target)
      if (target > at[n]) { n = 0; next }       # code after a forward jump: a new straight piece
      dots = stack = found = calls = 0
      for (i = n; i >= 1; --i) {
        if (text[i] ~ /pdpbusd|pmaddwd|pmaddubsw|fmadd|[su]dot|mla[l ]/) ++dots
        if (text[i] ~ /^ *(callq?|bl) /) ++calls      # callq: as llvm-objdump writes it
        if ((text[i] ~ /\(%rsp[,)]|\[sp[],]/ || (frame && text[i] ~ /\(%rbp[,)]|\[x29[],]/)) &&
            (!depthwise || text[i] ~ /[xyz]mm|[qvz][0-9]/)) { ++stack; where[stack] = text[i] }
        if (at[i] == target) { found = 1; break }
      }
      n = 0
      if (!found || !dots || calls) next
      ++loops
      if (stack > (depthwise ? dots / 3 : 0)) {
        print object ": " function_name " the loop at " target " multiplies " dots " times and touches the stack " stack " times:"
        for (i = 1; i <= stack && i <= 3; ++i) print "   " where[i]
        bad = 1
      }
    }
    END {
      if (!loops) { print object ": no hot loop found"; exit 1 }
      print object ": " loops + 0 " hot loops"
      exit bad
    }'
}

check() {
  objdump=$1
  shift
  bad=0
  for object; do
    case ${object##*/} in
      *scalar*) continue ;;
      *brgemm*|*dwconv*|*grouped*) ;;
      *) continue ;;
    esac
    "$objdump" -d --no-show-raw-insn "$object" | scan "${object##*/}" || bad=1
  done
  return $bad
}

self_test() {
  listing() {  # listing OPERAND: a loop of three instructions, one of them with that operand
    printf '0000000000000000 <tile>:\n   0:\tmov    %%rsp,%%rbp\n   4:\tvpdpbusd %s,%%zmm1,%%zmm0\n'  "$1"
    printf '   a:\tdec    %%rax\n   d:\tjne    4 <tile+0x4>\n  10:\tret\n'
  }
  listing '(%rcx)' | scan clean > /dev/null || { echo "self-test: a clean loop was refused"; exit 1; }
  listing '0x8(%rbp)' | sed '/%rsp,%rbp/d' | scan clean > /dev/null || { echo "self-test: rbp without a frame was refused"; exit 1; }
  for operand in '0x40(%rsp)' '-0x10(%rbp)' '(%rsp,%rax,4)'; do
    if listing "$operand" | scan planted > /dev/null; then echo "self-test: not caught: $operand"; exit 1; fi
  done
  if listing '(%rsp)' | sed 's/jne    4/jne\t0x4/' | scan llvm > /dev/null; then echo "self-test: not caught: a target with 0x"; exit 1; fi
  arm() {
    printf '0000000000000000 <tile>:\n   0:\tmov x29, sp\n   4:\tsdot v0.4s, v1.16b, v2.16b\n   8:\tldr q1, %s\n   c:\tb.ne 4 <tile+0x4>\n' "$1"
  }
  arm '[x0]' | scan clean > /dev/null || { echo "self-test: a clean loop of Arm was refused"; exit 1; }
  arm '[x29, #16]' | sed '/x29, sp/d' | scan clean > /dev/null || { echo "self-test: x29 without a frame was refused"; exit 1; }
  for operand in '[sp, #16]' '[x29, #16]'; do
    if arm "$operand" | scan planted > /dev/null; then echo "self-test: not caught: $operand"; exit 1; fi
  done
  if listing '0x40(%rsp)' | scan dwconv > /dev/null; then echo "self-test: not caught: a depthwise loop that spills"; exit 1; fi
  listing '(%rcx)' | sed 's/dec    %rax/add    0x8(%rsp),%rax/' | scan dwconv > /dev/null ||
    { echo "self-test: a pointer on the stack of a depthwise loop was refused"; exit 1; }
  if printf '0000000000000000 <tile>:\n   0:\tret\n' | scan empty > /dev/null; then echo "self-test: an object without loops passed"; exit 1; fi
}

if [ "$1" = --self-test ]; then self_test; else check "$@"; fi
