#!/usr/bin/env python3
"""Usage: arm_speed.py KERNEL_CALL OBJDUMP [--json FILE] [--markdown FILE]

How fast the Arm kernels of this build are on models of cores. Each kernel runs once in qemu on a whole tile; the instructions it
executes, copies of A and epilogue included, go to llvm-mca. Cycles are compared with the fewest that the kernel's own
multiplications take on that core, and the bytes that it loads per MAC with those of the tiles of Arm's arm_gemm. Depthwise kernels
run on rows of pixels; their cycles are compared with the fewest that all their vector instructions take. Fails where an inner loop
or a call is below its target, or an inner loop touches the stack.

Exit code 77 (skipped) if a tool is missing.
"""
import argparse
import collections
import json
import math
import re
import shutil
import subprocess
import sys
import tempfile

MCA = 'llvm-mca-19'
QEMU = 'qemu-aarch64-static'

# Multiplications a cycle, from Arm's software optimization guides of these cores: NEON of 128 bits, SVE of its length.
# (A widening multiplication takes several instructions: their bound is llvm-mca's time for these alone.)
RATES = {
    'neoverse-n1': {'neon': 2},
    'cortex-a76': {'neon': 2},
    'neoverse-n2': {'neon': 2, 'sve': 2},
    'neoverse-v1': {'neon': 4, 'sve': 2},
    'neoverse-v2': {'neon': 4, 'sve': 4},
    'a64fx': {'sve': 2},
}
# 128 bits of SVE on the model of the core.
VECTOR_QUADS = {'neoverse-n2': 1, 'neoverse-v1': 2, 'neoverse-v2': 1, 'a64fx': 4}

# Targets in percent of the bound, a little below what was reached. None: only reported. What stands in the way of more: the pipes
# that multiply also scale, round and narrow (the column `most`). llvm-mca's Cortex-A76, which is its Cortex-A57, takes three
# instructions a cycle. Its Cortex-A55 lets a branch wait three cycles for the sum before it, and flips of u8 take a cycle of 80 for
# each of five rows: 96 and 91 % of the loop at most.
# Kernels by the beginning of their names.
Row = collections.namedtuple('Row', 'kernel core loop k64 k256')
ROWS = [
    Row('brgemm_u8s8_neondot_', 'neoverse-n1', 99, 75, 92),
    Row('brgemm_s8s8_neondot_', 'neoverse-n1', 99, 75, 92),
    Row('brgemm_u8s8_neondot_', 'cortex-a76', 99, 51, 75),
    Row('brgemm_s8s8_neondot_', 'cortex-a76', 99, 50, 74),
    Row('brgemm_u8s8_neoni8mm_', 'neoverse-n2', 99, 60, 85),
    Row('brgemm_u8s8_neoni8mm_', 'neoverse-v1', 98, 58, 84),
    Row('brgemm_u8s8_neoni8mm_', 'neoverse-v2', 98, 59, 84),
    Row('brgemm_s8s8_neoni8mm_', 'neoverse-n2', 99, 60, 85),
    Row('brgemm_s8s8_neoni8mm_', 'neoverse-v1', 98, 58, 84),
    Row('brgemm_s8s8_neoni8mm_', 'neoverse-v2', 98, 59, 84),
    Row('brgemm_u8s8_svei8mm_', 'neoverse-n2', 99, 55, 82),
    Row('brgemm_u8s8_svei8mm_', 'neoverse-v1', 98, 56, 82),
    Row('brgemm_u8s8_svei8mm_', 'neoverse-v2', 98, 54, 82),
    Row('brgemm_s8s8_svei8mm_', 'neoverse-n2', 99, 55, 82),
    Row('brgemm_s8s8_svei8mm_', 'neoverse-v1', 98, 56, 82),
    Row('brgemm_s8s8_svei8mm_', 'neoverse-v2', 98, 54, 82),
    Row('brgemm_u8s8_sve_', 'a64fx', 99, 52, 76),
    Row('brgemm_s8s8_sve_', 'a64fx', 99, 52, 76),
    Row('brgemm_f32f32_sve_', 'a64fx', None, None, None),
    Row('brgemm_f32f32_sve_', 'neoverse-v1', 97, 81, 88),
    Row('brgemm_u8s8_neon_', 'cortex-a72', 92, 61, 82),
    Row('brgemm_u8s8_neon_', 'cortex-a55', 90, 49, 75),
    Row('brgemm_s8s8_neon_', 'cortex-a72', 99, 65, 88),
    Row('brgemm_s8s8_neon_', 'cortex-a55', 95, 51, 79),
    Row('brgemm_f32f32_neon_', 'neoverse-n1', 95, 81, 91),
]

# Depthwise kernels: vector instructions a cycle on the core, windows and strides. Only reported.
Depthwise = collections.namedtuple('Depthwise', 'kernel core pipes quads')
DEPTHWISE = [
    Depthwise('dwconv_u8s8_neon_', 'cortex-a72', 2, 1),
    Depthwise('dwconv_s8s8_neon_', 'cortex-a72', 2, 1),
    Depthwise('dwconv_u8s8_neondot_', 'neoverse-n1', 2, 1),
    Depthwise('dwconv_s8s8_neondot_', 'neoverse-n1', 2, 1),
    Depthwise('dwconv_s8s8_neondot_', 'neoverse-v1', 4, 1),
    Depthwise('dwconv_u8s8_neoni8mm_', 'neoverse-n2', 2, 1),
    Depthwise('dwconv_u8s8_neoni8mm_', 'neoverse-v1', 4, 1),
    Depthwise('dwconv_u8s8_sve_', 'a64fx', 2, 4),
]
DEPTHWISE_WINDOWS = [(3, 1), (3, 2), (5, 1)]

# Bytes that a step of a tile loads per MAC: mr rows and nr columns for mr * nr products, whatever the length of the step.
TILES_OF_ARM_GEMM = {'8x12, A and B packed': (8 + 12) / (8 * 12), '6x16, A as it lies': (6 + 16) / (6 * 16)}

DOT = re.compile(r'(?:[su]|us|su)dot\b|(?:[su]|us)mmla\b|fmla\b')
WIDENING = re.compile(r'[su]m[ul]l+2?\b|[su]mlal2?\b|[su]adalp\b|smull2?\b')
VECTOR = re.compile(r'\b[vzqds]\d+\b')
MEMORY = re.compile(r'(ld|st|prf)\w*\b')
BRANCH = re.compile(r'(b|b\.\w+|cbn?z|tbn?z|bl|ret)\b')


def fail(text):
    sys.exit(f'arm_speed: {text}')


def macs_of(instruction, quads):
    """Products of 8-bit values, or of floats, in one instruction on registers of `quads` times 128 bits."""
    if 'mmla' in instruction:
        return 32 * quads
    if 'dot' in instruction:
        return 16 * quads
    if instruction.startswith('fmla'):
        return 4 * quads
    return 8 if re.match(r'[su]m', instruction) else 0


def loaded_bytes(instruction, quads):
    """Bytes that an instruction reads from memory into vector registers."""
    if re.match(r'ld1r[qw]', instruction):
        return 16 if 'ld1rq' in instruction else 4
    size = {'b': 1, 'h': 2, 's': 4, 'w': 4, 'd': 8, 'q': 16}
    if found := re.match(r'ld1s?([bhwd])\s+\{z\d+\.([bhsd])', instruction):  # may widen
        return 16 * quads * size[found[1]] // size[found[2]]
    found = re.match(r'ld(p|u?r)\s+([bhsdq])\d', instruction)
    if found:
        return size[found[2]] * (2 if found[1] == 'p' else 1)
    found = re.match(r'ld1\s+\{(.*)\}', instruction)
    return 16 * len(found[1].split(',')) if found else 0


def listing_of(program, objdump):
    """{address: instruction} and {symbol: address} of a program."""
    code, symbols = {}, {}
    listing = subprocess.run([objdump, '-d', '--no-show-raw-insn', program], check=True, capture_output=True, text=True).stdout
    for line in listing.splitlines():
        if found := re.match(r'([0-9a-f]+) <(.*)>:$', line):
            symbols[found[2]] = int(found[1], 16)
        elif found := re.match(r' *([0-9a-f]+):\s+(.*)$', line):
            code[int(found[1], 16)] = re.sub(r'\s*(//|;).*', '', found[2]).strip()
    return code, symbols


class Tracer:
    """The instructions that a call of a kernel executes."""

    def __init__(self, program, objdump):
        self.program = program
        self.code, self.symbols = listing_of(program, objdump)

    def call(self, kernel, quads, *arguments):
        """[(address, instruction)] from the first of the kernel to its return, its name, and the rows and columns of the tile."""
        qemu = [QEMU, '-cpu', f'max,sve-max-vq={quads}', '-singlestep', '-d', 'exec,nochain']
        command = [self.program, kernel, *map(str, arguments)]
        first = subprocess.run([QEMU, '-cpu', f'max,sve-max-vq={quads}', *command], capture_output=True, text=True)
        if first.returncode:
            fail(first.stderr.strip())
        name, start = first.stdout.split()[:2]
        base = int(start, 16) - self.symbols['octavo_' + name]
        last = max(self.code)
        with tempfile.NamedTemporaryFile('r') as log:
            traced = subprocess.run([*qemu, '-dfilter', f'{base:#x}..{base + last:#x}', '-D', log.name, *command],
                                    check=True, capture_output=True, text=True)
            addresses = [int(line.split('/')[1], 16) - base for line in log if line.startswith('Trace')]
        name, start, m, n = traced.stdout.split()
        begin = addresses.index(int(start, 16) - base)
        # The caller comes back to the instruction behind its call.
        end = next(i for i in range(begin, len(addresses)) if addresses[i] == addresses[begin - 1] + 4)
        return [(a, self.code[a]) for a in addresses[begin:end]], name, int(m), int(n)


def hot_loop(trace):
    """One turn of the loop that executes the most instructions: those from one jump back to the next."""
    turns = {}
    for i in range(1, len(trace)):
        if trace[i][0] < trace[i - 1][0] and BRANCH.match(trace[i - 1][1]):
            turns.setdefault(trace[i - 1][0], []).append(i)
    best, weight = None, 0
    for jumps in turns.values():
        bodies = [trace[i:j] for i, j in zip(jumps, jumps[1:])]
        bodies = [b for b in bodies if all(x[0] < y[0] for x, y in zip(b, b[1:]))
                  and any(DOT.match(t) or WIDENING.match(t) for _, t in b)]
        if bodies:
            body = min(bodies, key=len)
            if len(body) * len(bodies) > weight:
                best, weight = body, len(body) * len(bodies)
    return best


def for_mca(trace):
    """Targets of jumps have no labels here, and calls and returns end nothing."""
    text = []
    for _, t in trace:
        if re.match(r'(bl|ret|b)\b(?!\.)', t):
            text.append('nop')
        else:
            text.append(re.sub(r'[0-9a-f]+ <.*', '.', t))
    return '\n'.join(text)


def pipe_kind(pipe):
    """What pipes that take the same instructions are called together: A57UnitW, A57UnitX; V1UnitV0, V1UnitV1, ..."""
    return re.match(r'A64FXIP(FL|EX|EAG|\w+)|\w+?Unit[A-Za-z]+', re.sub(r'(?<=A57Unit)[WX]$', 'F', pipe))[0]


def cycles_and_slots(text, core, isa, iterations):
    """llvm-mca's cycles, and the fewest that the slots of the core allow for these instructions whatever their order is: what a
    kind of pipes has to do, spread over all of them, and micro-operations over the width of the core. SVE may have fewer pipes."""
    run = subprocess.run([MCA, '-mtriple=aarch64-linux-gnu', f'-mcpu={core}', '-mattr=+sve,+i8mm,+dotprod',
                          f'-iterations={iterations}', '--json'], input=text, capture_output=True, text=True)
    if run.returncode:
        fail(f'{MCA} -mcpu={core}: {run.stderr[:2000]}')
    output = json.loads(run.stdout)
    pipes, region = output['TargetInfo']['Resources'], output['CodeRegions'][0]
    summary, work = region['SummaryView'], collections.Counter()
    for use in region['ResourcePressureView']['ResourcePressureInfo']:
        if use['InstructionIndex'] == len(region['Instructions']):  # the sum
            work[pipe_kind(pipes[use['ResourceIndex']])] += use['ResourceUsage']
    count = collections.Counter(map(pipe_kind, pipes))
    multiply = RATES.get(core, {}).get(isa, math.inf)
    busiest = max(work[kind] / (min(count[kind], multiply) if kind.endswith(('V', 'FL')) else count[kind]) for kind in work)
    return summary['TotalCycles'] / iterations, max(busiest, summary['TotaluOps'] / iterations / summary['DispatchWidth'])


def cycles(text, core, iterations):
    return cycles_and_slots(text, core, 'neon', iterations)[0]


def bound(trace, core, isa, iterations):
    dots = [t for _, t in trace if DOT.match(t)]
    if dots:
        return len(dots) / RATES[core][isa]
    # The same instructions on registers that do not make them wait for one another.
    widening = [t for _, t in trace if WIDENING.match(t)]
    free = [re.sub(r'v\d+', 'v30', t).replace('v30', f'v{i % 24}', 1) for i, t in enumerate(widening)]
    return cycles('\n'.join(free), core, iterations)


def depthwise(tracer, row, window, stride):
    """What 16 outputs more cost, far from the ends of a row: of two traces of rows that differ in length."""
    block = 64 if '_sve_' in row.kernel else 16  # channels
    long, name, pixels, channels = tracer.call(row.kernel, row.quads, window, stride, 12, block)
    short, _, fewer, _ = tracer.call(row.kernel, row.quads, window, stride, 4, block)
    outputs = (pixels - fewer) * channels
    vectors = lambda trace: sum(bool(VECTOR.search(t)) and not MEMORY.match(t) for _, t in trace)
    more = lambda f: 16 * (f(long) - f(short)) / outputs
    result = {'kernel': name, 'core': row.core, 'window': window, 'stride': stride,
              'cycles': more(lambda trace: cycles(for_mca(trace), row.core, 1)), 'bound': more(vectors) / row.pipes,
              'instructions': more(len),
              'bytes_per_mac': more(lambda trace: sum(loaded_bytes(t, row.quads) for _, t in trace)) / (16 * window**2)}
    result['percent'] = 100 * result['bound'] / result['cycles']
    return result


def table(titles, rows):
    return [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|', *(f'| {" | ".join(map(str, row))} |' for row in rows)]


def check_rates():
    """llvm-mca's models and the table of rates agree."""
    for core, rates in RATES.items():
        for isa, rate in rates.items():
            instruction = 'sdot z{}.s, z30.b, z31.b' if isa == 'sve' else 'sdot v{}.4s, v30.16b, v31.16b'
            text = '\n'.join(instruction.format(i) for i in range(20))
            measured = 20 / cycles(text, core, 100)
            if not 0.97 * rate < measured < 1.01 * rate:
                fail(f'{core}: llvm-mca multiplies {measured:.2f} times a cycle, the table says {rate}')


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument('program')
    parser.add_argument('objdump')
    parser.add_argument('--json')
    parser.add_argument('--markdown')
    options = parser.parse_args()
    for tool in (MCA, QEMU, options.objdump):
        if not shutil.which(tool):
            print(f'skipped: no {tool}')
            sys.exit(77)
    check_rates()
    tracer = Tracer(options.program, options.objdump)
    results, missed = [], []
    for row in ROWS:
        isa = 'sve' if '_sve' in row.kernel else 'neon'
        quads = VECTOR_QUADS[row.core] if isa == 'sve' else 1
        trace, name, m, n = tracer.call(row.kernel, quads, 256)
        loop = hot_loop(trace)
        if not loop:
            fail(f'{name}: no loop multiplies')
        result = {'kernel': name, 'core': row.core, 'register_bits': 128 * quads, 'stack': sum('[sp' in t for _, t in loop)}
        if result['stack'] and row.loop:
            missed.append(f'{name}: the inner loop touches the stack')
        result['loop_cycles'] = cycles(for_mca(loop), row.core, 200)
        result['loop_bound'] = bound(loop, row.core, isa, 200)
        macs = sum(macs_of(t, quads) for _, t in loop)
        result['loop_bytes_per_mac'] = sum(loaded_bytes(t, quads) for _, t in loop) / macs
        result['loop_instructions_per_kmac'] = 1000 * len(loop) / macs
        result['loop'] = 100 * result['loop_bound'] / result['loop_cycles']
        for k, target in ((256, row.k256), (64, row.k64)):
            if k != 256:
                trace, name, m, n = tracer.call(row.kernel, quads, k)
            calls = 4 if len(trace) < 10000 else 1  # one behind the other
            result[f'k{k}_cycles'], result[f'k{k}_slots'] = cycles_and_slots(for_mca(trace), row.core, isa, calls)
            fewest = 100 * bound(trace, row.core, isa, calls)
            result[f'k{k}'], result[f'k{k}_most'] = fewest / result[f'k{k}_cycles'], fewest / result[f'k{k}_slots']
            result[f'k{k}_instructions_per_kmac'] = 1000 * len(trace) / (m * n * k)
            result[f'k{k}_bytes_per_mac'] = sum(loaded_bytes(t, quads) for _, t in trace) / (m * n * k)
            if target and result[f'k{k}'] < target:
                missed.append(f'{name} on {row.core}: a call with k={k} reaches {result[f"k{k}"]:.1f} %, not {target} %')
        if row.loop and result['loop'] < row.loop:
            missed.append(f'{name} on {row.core}: the inner loop reaches {result["loop"]:.1f} %, not {row.loop} %')
        results.append(result)

    windows = [depthwise(tracer, row, *window) for row in DEPTHWISE for window in DEPTHWISE_WINDOWS]

    lines = table(['kernel', 'core', 'inner loop: cycles', 'bound', '%', 'call k=64 % (most)', 'k=256 % (most)',
                   'instructions per 1000 MACs: loop', 'k=64', 'k=256', 'stack accesses in the loop'],
                  [[r['kernel'], r['core'], f'{r["loop_cycles"]:.1f}', f'{r["loop_bound"]:.1f}',
                    f'{r["loop"]:.0f}', *(f'{r[key]:.0f} ({r[key + "_most"]:.0f})' for key in ('k64', 'k256')),
                    *(f'{r[key + "_instructions_per_kmac"]:.0f}' for key in ('loop', 'k64', 'k256')), r['stack']] for r in results])
    loads = {(r['kernel'], r['register_bits']): [f'{r[key + "_bytes_per_mac"]:.3f}' for key in ('loop', 'k256')] for r in results}
    lines += ['', *table(['tile', 'bits of a register', 'bytes loaded per MAC: inner loop', 'a call with k=256'],
                         [[*tile, *b] for tile, b in loads.items()] +
                         [[f'arm_gemm {tile}', 128, f'{b:.3f}', ''] for tile, b in TILES_OF_ARM_GEMM.items()])]
    lines += ['', *table(['kernel', 'core', 'window', 'stride', 'cycles for 16 outputs', 'bound', '%', 'instructions',
                          'bytes loaded per MAC'],
                         [[r['kernel'], r['core'], f'{r["window"]}x{r["window"]}', r['stride'], f'{r["cycles"]:.1f}',
                           f'{r["bound"]:.1f}', f'{r["percent"]:.0f}', f'{r["instructions"]:.0f}', f'{r["bytes_per_mac"]:.2f}']
                          for r in windows])]
    print('\n'.join(lines))
    if options.markdown:
        with open(options.markdown, 'w') as file:
            file.write('\n'.join(lines) + '\n')
    if options.json:
        with open(options.json, 'w') as file:
            json.dump({'brgemm': results, 'dwconv': windows, 'arm_gemm_bytes_per_mac': TILES_OF_ARM_GEMM}, file, indent=1)
    for text in missed:
        print(text)
    sys.exit(bool(missed))


if __name__ == '__main__':
    main()
