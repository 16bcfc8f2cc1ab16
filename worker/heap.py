"""How the C library keeps memory in a process that trains: in large pages, and for its whole life.

A training pass takes and frees hundreds of megabytes. By default they go back to the kernel each
time and are faulted in again page by page, thousands a pass: 2 to 4 % of its time on a CPU. Only
glibc reads these variables, and only as a process starts.
"""

KEPT_BYTES = 1 << 40
"""More is not kept; no machine has as much."""
MAPPED_APART_BYTES = 1 << 25
"""Larger pieces go back at once: the most that glibc lets be kept."""

VARIABLES = {
    "GLIBC_TUNABLES": ":".join(
        (
            "glibc.malloc.hugetlb=1",
            f"glibc.malloc.trim_threshold={KEPT_BYTES}",
            f"glibc.malloc.mmap_threshold={MAPPED_APART_BYTES}",
        )
    )
}
