"""Counts a GIF's frames from its block structure: Pillow can only do so by decoding them one after another."""

IMAGE, EXTENSION, COLOUR_TABLE = 0x2C, 0x21, 0x80


def count_frames(data: bytes, *, stop_after: int) -> int:
    """The number of image blocks, or one more than `stop_after` as soon as that many are found.

    A file that ends early has the frames seen so far: whether its first one is whole, the decoder will tell.
    """
    frames, at = 0, 13 + table_bytes(data[10:11])
    while frames <= stop_after and at < len(data):
        if data[at] == IMAGE:
            frames += 1
            at = skip_blocks(data, at + 11 + table_bytes(data[at + 9 : at + 10]))
        elif data[at] == EXTENSION:
            at = skip_blocks(data, at + 2)
        else:  # the trailer, or rubbish
            break
    return frames


def table_bytes(flags: bytes) -> int:
    """The length of the colour table that a flag byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & COLOUR_TABLE else 0


def skip_blocks(data: bytes, at: int) -> int:
    """Where the chain of data blocks that starts at `at` ends."""
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1
