# Limbs: pairs of peaks that are connected by a PAF. Included by _decode.pyx.

cdef struct PafSampling:
    # Distances between rows and between columns are in elements.
    Py_ssize_t row
    Py_ssize_t column
    int last_row
    int last_column
    float zero_point
    float min_agreement     # real threshold divided by the scale
    float step              # from sample to sample, as a share of the limb's length


cdef inline float score_limb(const value_t* paf_x, const value_t* paf_y, const PafSampling* paf, float x0, float y0,
                             float dx, float dy, float length, int samples, int min_samples) noexcept nogil:
    """Compute the mean agreement of a PAF with the direction of a limb, over the samples above the threshold.

    `paf_x`, `paf_y`: the two channels of the PAF in cell (0, 0). They are read with bilinear interpolation at `samples`
    points from (x0, y0) to (x0 + dx, y0 + dy), both ends included. The middle is read first and the ends last: between
    two people the middle fails first. Sampling stops as soon as `min_samples` cannot be reached any more.

    Returns the mean in stored values (divided by the scale), 0 if fewer than `min_samples` samples are above the
    threshold, or NaN if a sample is not finite.
    """
    cdef Py_ssize_t right, below, cell
    cdef float inverse = 1 / length, ux = dx * inverse, uy = dy * inverse
    cdef float min_projection = paf.min_agreement + paf.zero_point * (ux + uy)
    cdef float x, y, u, v, a, b, c, d, projection, total = 0
    cdef int i, j, s, position, passed = 0
    position = (samples - 1) // 2
    dx = dx * paf.step
    dy = dy * paf.step
    for s in range(samples):
        # Alternate around the middle; with 8 samples: 3, 4, 2, 5, 1, 6, 0, 7.
        position = position + (s if s % 2 else -s)
        x = x0 + position * dx
        y = y0 + position * dy
        i = <int>x
        j = <int>y
        check_cell(j, i, paf.last_row, paf.last_column)
        u = x - i
        v = y - j
        right = paf.column if i < paf.last_column else 0
        below = paf.row if j < paf.last_row else 0
        cell = j * paf.row + i * paf.column
        # The projection is linear: projecting in the four cells and interpolating once gives the same as
        # interpolating both channels.
        a = paf_x[cell] * ux + paf_y[cell] * uy
        b = paf_x[cell + right] * ux + paf_y[cell + right] * uy
        c = paf_x[cell + below] * ux + paf_y[cell + below] * uy
        d = paf_x[cell + below + right] * ux + paf_y[cell + below + right] * uy
        a = a + u * (b - a)
        c = c + u * (d - c)
        projection = a + v * (c - a)
        if projection > min_projection:
            total = total + projection
            passed = passed + 1
        elif not isfinite(projection):
            return projection - projection           # NaN
        elif s + 1 - passed > samples - min_samples:
            return 0
    return total / passed - paf.zero_point * (ux + uy)


cdef inline int find_best_column(const float[:, ::1] ranks, int row, int columns) noexcept nogil:
    """Return the column of the highest rank in a row (the first of equal ones), or ABSENT if there is none."""
    cdef int q, best = ABSENT
    for q in range(columns):
        if ranks[row, q] > -INFINITY and (best == ABSENT or ranks[row, q] > ranks[row, best]):
            best = q
    return best


cdef inline int pair_greedily(int n_a, int n_b, const float[:, ::1] candidate_scores, float[:, ::1] ranks,
                              int[::1] best_columns, int[:, ::1] pairs, float[::1] pair_scores) noexcept nogil:
    """Pair peaks by rank: take the highest rank of the matrix, remove its row and column, repeat.

    The pairs are those of a sorted list of candidates, but no list is needed: only rows that lose their best column are
    searched again. Returns the number of pairs.
    """
    cdef int p, q, best, count = 0
    for p in range(n_a):
        best_columns[p] = find_best_column(ranks, p, n_b)
    while True:
        best = ABSENT
        for p in range(n_a):
            if best_columns[p] != ABSENT and (
                    best == ABSENT or ranks[p, best_columns[p]] > ranks[best, best_columns[best]]):
                best = p
        if best == ABSENT:
            return count
        q = best_columns[best]
        pairs[count, 0] = best
        pairs[count, 1] = q
        pair_scores[count] = candidate_scores[best, q]
        count = count + 1
        best_columns[best] = ABSENT
        for p in range(n_a):
            ranks[p, q] = -INFINITY
            if best_columns[p] == q:
                best_columns[p] = find_best_column(ranks, p, n_b)


def connect(Workspace work, const value_t[:, :, :] pafs, float scale, float zero_point, float min_agreement,
            int samples, int min_samples, float max_limb_length, float length_penalty_start, float peak_weight):
    """Pair the peaks of the two keypoints of every limb, highest rank first, each peak at most once per limb.

    The rank of a pair is its mean PAF agreement, minus a penalty if the limb is long, plus `peak_weight` times the
    scores of both peaks. Writes `pairs`, `pair_scores` (mean agreement) and `pair_counts`.

    Args:
        pafs: (height, width, PAF channels).
        scale, zero_point: real value = (stored value - zero_point) * scale.
        min_agreement: Threshold of a sample's agreement, divided by `scale`.
        samples: Samples per limb, 2 or more.
        min_samples: Samples that must be above the threshold.
        max_limb_length: In cells. Longer pairs are not considered.
        length_penalty_start: In cells. The rank of longer limbs falls by 1 - length_penalty_start / length
            (tf-pose-estimation's rule).

    Returns:
        False if a sampled value is NaN or infinite.
    """
    cdef float[:, :, ::1] peaks = work.peaks
    cdef const int[:, ::1] limbs = work.limbs
    cdef float[:, ::1] candidate_scores = work.candidate_scores, ranks = work.ranks, pair_scores = work.pair_scores
    cdef int[::1] peak_counts = work.peak_counts, best_columns = work.best_columns, pair_counts = work.pair_counts
    cdef int[:, :, ::1] pairs = work.pairs
    cdef int limb, a, b, p, q
    cdef float dx, dy, length, agreement, rank
    cdef const value_t* paf_x
    cdef const value_t* paf_y
    cdef bint finite = True
    cdef PafSampling paf
    paf.row = pafs.strides[0] // <Py_ssize_t>sizeof(value_t)
    paf.column = pafs.strides[1] // <Py_ssize_t>sizeof(value_t)
    paf.last_row = <int>pafs.shape[0] - 1
    paf.last_column = <int>pafs.shape[1] - 1
    paf.zero_point = zero_point
    paf.min_agreement = min_agreement
    paf.step = <float>1.0 / (samples - 1)
    with nogil:
        for limb in range(limbs.shape[0]):
            a = limbs[limb, 0]
            b = limbs[limb, 1]
            paf_x = &pafs[0, 0, limbs[limb, 2]]
            paf_y = &pafs[0, 0, limbs[limb, 3]]
            for p in range(peak_counts[a]):
                for q in range(peak_counts[b]):
                    ranks[p, q] = -INFINITY
                    dx = peaks[b, q, 0] - peaks[a, p, 0]
                    dy = peaks[b, q, 1] - peaks[a, p, 1]
                    if fabsf(dx) > max_limb_length or fabsf(dy) > max_limb_length:
                        continue
                    length = sqrtf(dx * dx + dy * dy)
                    if length > max_limb_length or length < <float>0.1:
                        continue
                    agreement = scale * score_limb(paf_x, paf_y, &paf, peaks[a, p, 0], peaks[a, p, 1], dx, dy, length,
                                                   samples, min_samples)
                    if agreement == 0:
                        continue
                    rank = (agreement if length <= length_penalty_start
                            else agreement + (length_penalty_start / length - 1))
                    if not isfinite(rank):
                        finite = False
                    elif agreement > 0 and rank > 0:
                        candidate_scores[p, q] = agreement
                        ranks[p, q] = rank + peak_weight * (peaks[a, p, 2] + peaks[b, q, 2])
            pair_counts[limb] = pair_greedily(peak_counts[a], peak_counts[b], candidate_scores, ranks, best_columns,
                                              pairs[limb], pair_scores[limb])
    return finite
