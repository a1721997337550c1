#!/usr/bin/env python3
"""Usage: cifar10_npz.py RECORDS COUNT NPZ

The first COUNT of CIFAR-10's binary records (a label byte, 3x32x32 bytes) as arrays `input`, normalized as the torchvision models
want it, and `labels`. Needs no NumPy.
"""
import array
import struct
import sys
import zipfile

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def npy(dtype, shape, data):
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    header += ' ' * (-(len(header) + 11) % 64) + '\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header.encode() + data


records, count, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
pixels, labels = array.array('f'), array.array('q')
with open(records, 'rb') as file:
    for _ in range(count):
        record = file.read(3073)
        if len(record) != 3073:
            sys.exit(f'cifar10_npz: {records} has fewer than {count} records')
        labels.append(record[0])
        pixels.extend((v / 255 - MEAN[i // 1024]) / DEVIATION[i // 1024] for i, v in enumerate(record[1:]))
with zipfile.ZipFile(out, 'w') as npz:
    npz.writestr('input.npy', npy('<f4', (count, 3, 32, 32), pixels.tobytes()))
    npz.writestr('labels.npy', npy('<i8', (count,), labels.tobytes()))
