"""The decoder's kernel: peaks, limb connections, people. See `decode.py` for the contract.

Four functions, called in this order once a frame: find_peaks (_peaks.pxi), connect (_limbs.pxi), assemble and collect
(_assemble.pxi). Each works on the arrays of a `Workspace`, which its caller allocated, validates nothing, releases the
GIL and allocates nothing. The maps are read in the type the interpreter gives (float32, int8, uint8, int16): thresholds
come in raw units, and only sampled values are scaled. The channels of a cell must lie side by side; rows and cells may
have gaps (both maps may be slices of one tensor). Every function has a plain NumPy twin in tests/runtime/decoder_twin.py.
"""

from libc.math cimport INFINITY, fabsf, isfinite, sqrtf

cdef extern from *:
    """
    #ifdef EDGEPOSE_BOUNDSCHECK
    #include <stdlib.h>
    #define check_cell(j, i, last_j, last_i) do { if (j < 0 || i < 0 || j > last_j || i > last_i) abort(); } while (0)
    #else
    #define check_cell(j, i, last_j, last_i) do { } while (0)
    #endif
    """
    void check_cell(int j, int i, int last_row, int last_column) noexcept nogil

ctypedef fused value_t:
    float
    signed char
    unsigned char
    short

cdef enum:
    ABSENT = -1


cdef class Workspace:
    """The arrays of one decoder, held so that a frame does not have to ask Python for them again.

    `limbs` (limbs, 4): part a, part b, PAF channel of x, of y; `starts[limb]` is 0 where it may not start a person.
    `peaks` (parts, capacity, 3): x, y in grid cells, score; `counts` (parts). `pairs` (limbs, capacity, 2),
    `pair_scores` (limbs, capacity), `pair_counts` (limbs). `people` (most, parts): index of the peak of each part, -1
    where absent; `limb_sums`, `sizes` (most). `keypoints` (most, parts, 3) and `scores` (most): the result. The rest
    is working memory.
    """
    cdef const int[:, ::1] limbs
    cdef const unsigned char[::1] starts
    cdef float[:, :, ::1] peaks
    cdef int[::1] counts
    cdef int[:, :, ::1] visited
    cdef int[::1] stack
    cdef float[:, ::1] means
    cdef float[:, ::1] ranks
    cdef int[::1] row_best
    cdef int[:, :, ::1] pairs
    cdef float[:, ::1] pair_scores
    cdef int[::1] pair_counts
    cdef int[:, ::1] owner
    cdef int[:, ::1] people
    cdef float[::1] limb_sums
    cdef int[::1] sizes
    cdef float[:, :, ::1] keypoints
    cdef float[::1] scores
    cdef int[::1] order

    def __init__(self, limbs, starts, peaks, counts, visited, stack, means, ranks, row_best, pairs, pair_scores,
                 pair_counts, owner, people, limb_sums, sizes, keypoints, scores, order):
        self.limbs, self.starts, self.peaks, self.counts = limbs, starts, peaks, counts
        self.visited, self.stack, self.means, self.ranks, self.row_best = visited, stack, means, ranks, row_best
        self.pairs, self.pair_scores, self.pair_counts = pairs, pair_scores, pair_counts
        self.owner, self.people, self.limb_sums, self.sizes = owner, people, limb_sums, sizes
        self.keypoints, self.scores, self.order = keypoints, scores, order


include "_peaks.pxi"
include "_limbs.pxi"
include "_assemble.pxi"
