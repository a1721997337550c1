#!/usr/bin/env python3
"""Usage: arm_layers.py LAYER_CALL OBJDUMP ADDR2LINE [--full] [--json FILE] [--markdown FILE]

How many instructions the Arm builds execute for three small layers, a test that fails where they are more than their limits, or
(--full, a few minutes) for layers of ResNet-50 and ResNeXt-50, one image. qemu logs each straight piece of code that it executes; a
run of the plan is what a program that runs it executes more than one that only makes it. Of large layers a slice is counted, some
rows of the image and some output channels: the same tiles, fewer of them. For each CPU model and type, instructions per 1000 MACs:
  inner loop  loops that multiply, no loop inside them
  epilogue    what comes from a file named *epilogue*: sums to bytes
  around      the rest of the kernel: pointers, copies of A, seeds of sums, tails
  plan        all else: which tile comes next, padded rows, memcpy

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
PRODUCTS_OF_GROUPED = {'neon': 4, 'neondot': 16, 'neoni8mm': 16, 'svei8mm': 16}  # by lane, in registers of 128 bits

Layer = collections.namedtuple('Layer', 'name ic oc groups height width window stride')
LAYERS = [
    Layer('conv1 7x7 s2, 3->64 @224', 3, 64, 1, 32, 224, 7, 2),
    Layer('1x1 64->256 @56', 64, 256, 1, 8, 56, 1, 1),
    Layer('3x3 64->64 @56', 64, 64, 1, 8, 56, 3, 1),
    Layer('1x1 1024->256 @14', 1024, 64, 1, 14, 14, 1, 1),
    Layer('3x3 256->256 @14', 256, 64, 1, 14, 14, 3, 1),
    Layer('1x1 512->2048 @7', 512, 512, 1, 7, 7, 1, 1),
    # ResNeXt: 4, 8 and 16 channels a group
    Layer('3x3 128->128, 32 groups @14', 128, 128, 32, 14, 14, 3, 1),
    Layer('3x3 256->256, 32 groups @14', 256, 256, 32, 14, 14, 3, 1),
    Layer('3x3 512->512, 32 groups @14', 512, 512, 32, 14, 14, 3, 1),
]
# A slice of each kind for the test: a large image with few channels, padded rows, groups.
QUICK = [
    Layer('1x1 64->64 @56', 64, 64, 1, 2, 56, 1, 1),
    Layer('3x3 64->64 @14', 64, 64, 1, 4, 14, 3, 1),
    Layer('3x3 64->64, 16 groups @14', 64, 64, 16, 14, 14, 3, 1),
]
# Limits of the quick layers: instructions of each type per 1000 MACs in all, a little above what they are with GCC 12.
LIMITS = {
    ('neon', 'u8'): (528, 297, 553),
    ('neon', 's8'): (513, 283, 558),
    ('neondot', 'u8'): (145, 90, 302),
    ('neondot', 's8'): (146, 89, 292),
    ('neoni8mm', 'u8'): (107, 53, 288),
    ('neoni8mm', 's8'): (113, 54, 293),
    ('svei8mm', 'u8'): (71, 35, 286),
    ('svei8mm', 's8'): (72, 35, 292),
}
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
        qemu = [QEMU, '-cpu', cpu, '-d', 'in_asm,exec,nochain', '-D', log.name]
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
    products = PRODUCTS_OF_GROUPED[isa] if layer.groups > 1 else PRODUCTS[isa] * VECTOR_QUADS.get(isa, 1)
    return {'layer': layer.name, 'kernel': name, 'isa': isa, 'type': dtype, 'cpu': CPUS[isa], 'macs': int(macs), **sums,
            'all': sum(sums.values()), 'multiplications': int(macs) // products}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('program')
    parser.add_argument('objdump')
    parser.add_argument('addr2line')
    parser.add_argument('--full', action='store_true')
    parser.add_argument('--json')
    parser.add_argument('--markdown')
    options = parser.parse_args()
    for tool in (QEMU, options.objdump, options.addr2line):
        if not shutil.which(tool):
            print(f'skipped: no {tool}')
            sys.exit(77)
    code = Code(options.program, options.objdump, options.addr2line)
    layers = LAYERS if options.full else QUICK
    results = [count(code, isa, dtype, layer) for isa in CPUS for dtype in ('u8', 's8') for layer in layers]
    missed = []
    for i, r in enumerate(results):
        limit = None if options.full else LIMITS[r['isa'], r['type']][i % len(QUICK)]
        if limit and 1000 * r['all'] > limit * r['macs']:
            missed.append(f'{r["kernel"]}, {r["layer"]}: {1000 * r["all"] / r["macs"]:.1f} instructions per 1000 MACs, not {limit}')

    lines = table(['kernel', 'layer', 'instructions per 1000 MACs: multiplications alone', *CLASSES, 'in all'],
                  [[r['kernel'], r['layer'], *(f'{1000 * r[c] / r["macs"]:.1f}' for c in ('multiplications', *CLASSES, 'all'))]
                   for r in results])
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
