"""Makes the sheet of handwritten digits that ships with dyconv from the file that scikit-learn ships.

    python make_digits.py digits.csv.gz           writes ../data/digits.png and ../data/digits.txt
    python make_digits.py digits.csv.gz --check   compares those that are there with the file; exit code 1: they differ

The file is `sklearn/datasets/data/digits.csv.gz` of the scikit-learn package. Nothing but Python 3 is needed.
"""

import argparse
import gzip
import hashlib
import pathlib
import struct
import sys
import zlib

SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
EXTENT = 8  # of an image
COLUMNS = 48  # images in a row of the sheet
GREY = 15  # of one step: values are 0 to 16, so that 240 is the brightest


def read(path):
    """The file's images, 64 values each, and their labels, in its order."""
    packed = path.read_bytes()
    if hashlib.sha256(packed).hexdigest() != SHA256:
        sys.exit(f"{path} isn't scikit-learn's digits.csv.gz: its SHA-256 is another one")
    lines = gzip.decompress(packed).decode("ascii").split()
    numbers = [[int(float(field)) for field in line.split(",")] for line in lines]
    return [line[:-1] for line in numbers], [line[-1] for line in numbers]


def sheet(images):
    """All images as rows of grey pixels, row by row of the sheet; what is left of the last row is black."""
    bands = -(-len(images) // COLUMNS)
    rows = [bytearray(COLUMNS * EXTENT) for _ in range(bands * EXTENT)]
    for i, image in enumerate(images):
        top, left = i // COLUMNS * EXTENT, i % COLUMNS * EXTENT
        for y in range(EXTENT):
            line = image[y * EXTENT : (y + 1) * EXTENT]
            rows[top + y][left : left + EXTENT] = bytes(value * GREY for value in line)
    return rows


def png(rows):
    """A grey PNG of 8 bits."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def unpacked(data):
    """The pixels of a PNG that `png` has made, however hard it was compressed."""
    start = data.index(b"IDAT")
    length = struct.unpack(">I", data[start - 4 : start])[0]
    return zlib.decompress(data[start + 4 : start + 4 + length])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=pathlib.Path, help="digits.csv.gz")
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    folder = pathlib.Path(__file__).resolve().parent.parent / "data"
    images, labels = read(arguments.file)
    digits = "".join(map(str, labels))
    lines = "\n".join(digits[i : i + COLUMNS] for i in range(0, len(digits), COLUMNS)) + "\n"
    picture = png(sheet(images))
    if arguments.check:
        same = unpacked((folder / "digits.png").read_bytes()) == unpacked(picture)
        same = same and (folder / "digits.txt").read_text() == lines
        print(f"{len(images)} images: {'as in the file' if same else 'they differ from the file'}")
        sys.exit(0 if same else 1)
    (folder / "digits.png").write_bytes(picture)
    (folder / "digits.txt").write_text(lines)
    print(f"{len(images)} images: {len(picture)} bytes")


if __name__ == "__main__":
    main()
