"""What a frame is charged to the line's byte budget, so that the budget bounds memory."""

ENTRY_BYTES = 512  # the entry, its place in the register, its pending entry; most measured: 459


def charge(head: bytes, held: int) -> int:
    """Give the bytes that a frame takes until it is answered.

    A frame without a picture costs Redis as much beside its pixels as any other: uncharged, a
    flood of them would fill the server. The server's allocator may round large entries up by as
    much as a quarter.

    Args:
        head: as packed.
        held: bytes of its pixels, in Redis or in a ring.
    """
    return ENTRY_BYTES + len(head) + held
