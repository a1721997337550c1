#!/usr/bin/env python3
"""Usage: arm_layers.py LAYER_CALL OBJDUMP ADDR2LINE [--json FILE] [--markdown FILE]

How many instructions the Arm builds execute for whole layers of ResNet-50, one image. qemu logs each straight piece of code that it
executes; a run of the plan is what a program that runs it executes more than one that only makes it. Of large layers a slice is
counted, some rows of the image and some output channels: the same tiles, fewer of them. For each CPU model and type, instructions
per 1000 MACs:
  inner loop  loops that multiply, no loop inside them
  epilogue    what comes from a file named *epilogue*: sums to bytes
  around      the rest of the kernel: pointers, copies of A, seeds of sums, tails
  plan        all else: which tile comes next, padded rows, memcpy
Fails where the inner loop or the plan takes more than its limit.

Exit code 77 (skipped) if a tool is missing.
"""
import argparse
import bisect
import collections
import json
import re
import shutil
import subprocess
import sys
import tempfile

from arm_speed import DOT, QEMU, WIDENING, fail, listing_of, table

# The CPU models on which the plan takes the kernel.
CPUS = {'neon': 'cortex-a53', 'neondot': 'neoverse-n1', 'neoni8mm': 'max,sve=off', 'svei8mm': 'max,sve-max-vq=2'}
# 128 bits in a register, and products of bytes in 128 bits of one multiplying instruction.
VECTOR_QUADS = {'svei8mm': 2}
PRODUCTS = {'neon': 8, 'neondot': 16, 'neoni8mm': 32, 'svei8mm': 32}

# Limits: instructions in the inner loop for each multiplication that the MACs need, worst in conv1, whose 21 products a row fill up
# to the kernel's step (NEON adds products by one more); and instructions of the plan in percent of all.
INNER = {'neon': 3.7, 'neondot': 1.5, 'neoni8mm': 1.7, 'svei8mm': 2.0}
PLAN = 8

Layer = collections.namedtuple('Layer', 'name ic oc height width window stride')
LAYERS = [
    Layer('conv1 7x7 s2, 3->64 @224', 3, 64, 32, 224, 7, 2),
    Layer('1x1 64->256 @56', 64, 256, 8, 56, 1, 1),
    Layer('3x3 64->64 @56', 64, 64, 8, 56, 3, 1),
    Layer('1x1 1024->256 @14', 1024, 64, 14, 14, 1, 1),
    Layer('3x3 256->256 @14', 256, 64, 14, 14, 3, 1),
    Layer('1x1 512->2048 @7', 512, 512, 7, 7, 1, 1),
]
CLASSES = ('inner loop', 'around', 'epilogue', 'plan')

KERNEL_SYMBOL = re.compile(r'octavo_(brgemm|dwconv|grouped)_|_ZN6octavo\d+(neon|neondot|neoni8mm|sve|svei8mm)\d+_GLOBAL__N_1')
JUMP = re.compile(r'(?:b|b\.\w+|cbn?z\s+\w+,|tbn?z\s+\w+, #\w+,)\s+([0-9a-f]+) <')


class Code:
    """The program's instructions, each with the class that it counts in if it is part of a kernel."""

    def __init__(self, program, objdump, addr2line):
        self.program, self.addr2line = program, addr2line
        self.text, self.symbols = listing_of(program, objdump)
        self.classes = {}
        starts = sorted((address, name) for name, address in self.symbols.items())
        self.kernels = [(a, b) for (a, name), (b, _) in zip(starts, starts[1:] + [(1 << 64, '')]) if KERNEL_SYMBOL.match(name)]
        self.loops = self.find_loops()

    def find_loops(self):
        """Addresses of innermost loops that multiply: back from a jump to where it goes, no such jump between."""
        inside = set()
        addresses = sorted(self.text)
        for first, end in self.kernels:
            body = addresses[bisect.bisect_left(addresses, first):bisect.bisect_left(addresses, end)]
            last_jump = -1
            for address in body:
                found = JUMP.match(self.text[address])
                if not found or not first <= int(found[1], 16) <= address:
                    continue
                target = int(found[1], 16)
                loop = [a for a in body[bisect.bisect_left(body, target):] if a <= address]
                if target > last_jump and any(DOT.match(self.text[a]) or WIDENING.match(self.text[a]) for a in loop):
                    inside.update(loop)
                last_jump = address
        return inside

    def classify(self, addresses):
        """Asks for the lines of the addresses not yet known: an instruction may be inlined from one file into another."""
        unknown = []
        for a in addresses:
            if a in self.classes:
                continue
            i = bisect.bisect_right(self.kernels, (a, 1 << 64)) - 1
            if i < 0 or a >= self.kernels[i][1]:
                self.classes[a] = 'plan'
            else:
                unknown.append(a)
        if not unknown:
            return
        text = subprocess.run([self.addr2line, '-a', '-i', '-e', self.program], input='\n'.join(f'{a:#x}' for a in unknown),
                              check=True, capture_output=True, text=True).stdout
        lines = 0
        for entry in re.split(r'^0x', text, flags=re.MULTILINE)[1:]:
            address, *frames = entry.splitlines()
            lines += '?' not in frames[0]
            a = int(address, 16)
            if any(re.search(r'epilogue[^/]*:\d', f) for f in frames):
                self.classes[a] = 'epilogue'
            else:
                self.classes[a] = 'inner loop' if a in self.loops else 'around'
        if lines < len(unknown) // 2:
            fail('the kernels are compiled without lines of source (-g1)')


def executed(cpu, command):
    """{address: how often it was executed}, and what the program printed."""
    blocks, counts = {}, collections.Counter()
    with tempfile.NamedTemporaryFile('r') as log:
        qemu = [QEMU, '-cpu', cpu, '-E', 'LD_BIND_NOW=1', '-d', 'in_asm,exec,nochain', '-D', log.name]
        run = subprocess.run([*qemu, *command], capture_output=True, text=True)
        if run.returncode:
            fail(run.stderr.strip())
        block = []
        for line in log:
            if line.startswith('Trace'):
                counts[line.split('/')[1]] += 1
            elif line.startswith('0x'):
                address = int(line[:line.index(':')], 16)
                if not block:
                    blocks[f'{address:016x}'] = block
                block.append(address)
            elif line.startswith('IN:'):
                block = []
    total = collections.Counter()
    for start, times in counts.items():
        if start not in blocks:
            fail(f'{QEMU} logs no disassembly')
        for address in blocks[start]:
            total[address] += times
    return total, run.stdout


def count(code, isa, dtype, layer):
    command = [code.program, dtype, *map(str, layer[1:])]
    made, printed = executed(CPUS[isa], [*command, '0'])
    ran, _ = executed(CPUS[isa], [*command, '1'])
    name, at, macs = printed.split()
    if f'_{isa}_' not in name:
        fail(f'{layer.name} on {CPUS[isa]}: {name} is no kernel of {isa}')
    base = int(at, 16) - code.symbols['octavo_' + name]
    run = collections.Counter({a - base: n - made[a] for a, n in ran.items() if n > made[a]})
    code.classify(run)
    sums = dict.fromkeys(CLASSES, 0)
    for a, n in run.items():
        sums[code.classes[a]] += n
    return {'layer': layer.name, 'kernel': name, 'cpu': CPUS[isa], 'macs': int(macs), **sums,
            'multiplications': int(macs) // (PRODUCTS[isa] * VECTOR_QUADS.get(isa, 1))}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('program')
    parser.add_argument('objdump')
    parser.add_argument('addr2line')
    parser.add_argument('--json')
    parser.add_argument('--markdown')
    options = parser.parse_args()
    for tool in (QEMU, options.objdump, options.addr2line):
        if not shutil.which(tool):
            print(f'skipped: no {tool}')
            sys.exit(77)
    code = Code(options.program, options.objdump, options.addr2line)
    results, missed = [count(code, isa, dtype, layer) for isa in CPUS for dtype in ('u8', 's8') for layer in LAYERS], []
    for r in results:
        inner, plan = r['inner loop'] / r['multiplications'], 100 * r['plan'] / sum(r[c] for c in CLASSES)
        limit = INNER[r['kernel'].split('_')[2]]
        if inner > limit:
            missed.append(f'{r["kernel"]}, {r["layer"]}: {inner:.2f} instructions for each that multiplies, not {limit}')
        if plan > PLAN:
            missed.append(f'{r["kernel"]}, {r["layer"]}: the plan takes {plan:.1f} % of the instructions, not {PLAN} %')

    lines = table(['kernel', 'layer', 'instructions per 1000 MACs: multiplications alone', *CLASSES, 'in all'],
                  [[r['kernel'], r['layer'], *(f'{1000 * n / r["macs"]:.1f}' for n in (r['multiplications'], *(r[c] for c in CLASSES),
                                                                                     sum(r[c] for c in CLASSES)))] for r in results])
    print('\n'.join(lines))
    if options.markdown:
        with open(options.markdown, 'w') as file:
            file.write('\n'.join(lines) + '\n')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump(results, file, indent=1)
    for text in missed:
        print(text)
    sys.exit(bool(missed))


if __name__ == '__main__':
    main()
