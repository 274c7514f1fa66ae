"""Decoder kernel: find peaks, connect peaks along limbs, assemble people. `decode.py` is its only caller.

One frame takes four calls in this order: `find_peaks` (_peaks.pxi), `connect` (_limbs.pxi), `assemble` and `collect`
(_assemble.pxi). All of them work on the arrays of a `Workspace`, do not validate their arguments, release the GIL and
allocate no memory. The maps are read in the dtype of the interpreter (float32, int8, uint8, int16): thresholds are
given in stored values, and only sampled values are converted to real ones. The channels of a cell must be contiguous;
rows and cells may have gaps, because both maps can be slices of one tensor. Every function has a NumPy twin in
tests/runtime/decoder_twin.py.
"""

import numpy as np

from libc.limits cimport INT_MAX, INT_MIN
from libc.math cimport INFINITY, fabsf, isfinite, sqrtf
from libc.string cimport memcpy

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
    NO_KEY = INT_MIN


cdef class Workspace:
    """Arrays of one decoder, allocated once and reused for every frame."""

    # Skeleton.
    cdef const int[:, ::1] limbs                # (limbs, 4): keypoint a, keypoint b, PAF channel of x, of y
    cdef const unsigned char[::1] can_seed      # (limbs): 1 if the limb may start a new person

    # Written by find_peaks.
    cdef float[:, :, ::1] peaks                 # (keypoints, max_peaks, 3): x, y in grid cells, score
    cdef int[::1] peak_counts                   # (keypoints)
    cdef int[:, :, ::1] visited                 # (height, width, keypoints): last frame in which a flood fill was here
    cdef int[::1] stack                         # (height * width): cells that the flood fill has still to visit
    cdef int frame                              # number of the current frame, from 1

    # Written by connect.
    cdef float[:, ::1] candidate_scores         # (max_peaks, max_peaks): mean PAF agreement of two peaks
    cdef int[:, ::1] keys                       # (max_peaks, max_peaks): rank of two peaks as an integer, or NO_KEY
    cdef int[::1] best_columns                  # (max_peaks): column of the highest key in a row, or ABSENT
    cdef int[::1] best_keys                     # (max_peaks): that key, or NO_KEY
    cdef int[::1] free                          # (max_peaks): 0 if the column belongs to a pair
    cdef float[:, :, ::1] packed_paf            # (height + 1, width + 1, 2): PAF of a limb with many candidates
    cdef int[:, :, ::1] pairs                   # (limbs, max_peaks, 2): index of peak a, of peak b
    cdef float[:, ::1] pair_scores              # (limbs, max_peaks)
    cdef int[::1] pair_counts                   # (limbs)

    # Written by assemble.
    cdef int[:, ::1] owners                     # (keypoints, max_peaks): person of the peak, or ABSENT
    cdef int[:, ::1] people                     # (max_people, keypoints): index of the peak, or ABSENT
    cdef float[::1] limb_score_sums             # (max_people)
    cdef int[::1] keypoint_counts               # (max_people): 0 if merged into another person

    # Written by collect.
    cdef int[::1] sorted_people                 # (max_people): rows of `people`, best first
    cdef readonly float[:, :, ::1] keypoints    # (max_people, keypoints, 3): x, y in frame pixels, score
    cdef readonly float[::1] scores             # (max_people)

    def __cinit__(self, int height, int width, int keypoint_count, int max_peaks, limbs, can_seed):
        cdef int limb_count = len(limbs)
        # A new person takes two peaks that have no owner, so there are never more people than this.
        cdef int max_people = keypoint_count * max_peaks // 2
        self.limbs = np.array(limbs, np.int32)
        self.can_seed = np.array(can_seed, np.uint8)
        self.peaks = np.zeros((keypoint_count, max_peaks, 3), np.float32)
        self.peak_counts = np.zeros(keypoint_count, np.int32)
        self.visited = np.zeros((height, width, keypoint_count), np.int32)
        self.stack = np.zeros(height * width, np.int32)
        self.candidate_scores = np.zeros((max_peaks, max_peaks), np.float32)
        self.keys = np.zeros((max_peaks, max_peaks), np.int32)
        self.best_columns = np.zeros(max_peaks, np.int32)
        self.best_keys = np.zeros(max_peaks, np.int32)
        self.free = np.zeros(max_peaks, np.int32)
        self.packed_paf = np.zeros((height + 1, width + 1, 2), np.float32)
        self.pairs = np.zeros((limb_count, max_peaks, 2), np.int32)
        self.pair_scores = np.zeros((limb_count, max_peaks), np.float32)
        self.pair_counts = np.zeros(limb_count, np.int32)
        self.owners = np.zeros((keypoint_count, max_peaks), np.int32)
        self.people = np.zeros((max_people, keypoint_count), np.int32)
        self.limb_score_sums = np.zeros(max_people, np.float32)
        self.keypoint_counts = np.zeros(max_people, np.int32)
        self.sorted_people = np.zeros(max_people, np.int32)
        self.keypoints = np.zeros((max_people, keypoint_count, 3), np.float32)
        self.scores = np.zeros(max_people, np.float32)


include "_peaks.pxi"
include "_limbs.pxi"
include "_assemble.pxi"
