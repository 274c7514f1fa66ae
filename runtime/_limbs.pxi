# Connections between peaks along the PAFs. Part of _decode.pyx.

cdef struct Field:
    # The PAF of one limb: distances in elements, last row and column of the grid.
    Py_ssize_t row
    Py_ssize_t column
    int last_row
    int last_column
    float zero_point
    float threshold_raw
    float step


cdef inline float along_limb(const value_t* paf_x, const value_t* paf_y, const Field* field, float x0, float y0,
                             float dx, float dy, float length, int samples, int needed) noexcept nogil:
    """Mean of the PAF along a limb over the samples that pass, in raw units; 0 where fewer than `needed` pass.

    `paf_x`, `paf_y`: the field's components in the first cell. They are read bilinearly at `samples` points from
    (x0, y0) to (x0 + dx, y0 + dy), ends included, from the middle outwards: between two people the middle fails
    first, and sampling stops as soon as too many have failed. NaN where the field is not finite.
    """
    cdef Py_ssize_t right, below, cell
    cdef float inverse = 1 / length, ux = dx * inverse, uy = dy * inverse
    cdef float least = field.threshold_raw + field.zero_point * (ux + uy)
    cdef float x, y, u, v, a, b, c, d, projection, total = 0
    cdef int i, j, s, place, passed = 0
    place = (samples - 1) // 2
    dx = dx * field.step
    dy = dy * field.step
    for s in range(samples):
        # To and fro around the middle: 3, 4, 2, 5, 1, 6, 0, 7.
        place = place + (s if s % 2 else -s)
        x = x0 + place * dx
        y = y0 + place * dy
        i = <int>x
        j = <int>y
        check_cell(j, i, field.last_row, field.last_column)
        u = x - i
        v = y - j
        right = field.column if i < field.last_column else 0
        below = field.row if j < field.last_row else 0
        cell = j * field.row + i * field.column
        # The projection on the limb is linear: it is taken in the four cells and interpolated once.
        a = paf_x[cell] * ux + paf_y[cell] * uy
        b = paf_x[cell + right] * ux + paf_y[cell + right] * uy
        c = paf_x[cell + below] * ux + paf_y[cell + below] * uy
        d = paf_x[cell + below + right] * ux + paf_y[cell + below + right] * uy
        a = a + u * (b - a)
        c = c + u * (d - c)
        projection = a + v * (c - a)
        if projection > least:
            total = total + projection
            passed = passed + 1
        elif not isfinite(projection):
            return projection - projection           # NaN
        elif s + 1 - passed > samples - needed:
            return 0
    return total / passed - field.zero_point * (ux + uy)


cdef inline int best_column(const float[:, ::1] ranks, int row, int columns) noexcept nogil:
    """Column of the highest rank in a row, the first of equals; -1 where none is left."""
    cdef int q, best = ABSENT
    for q in range(columns):
        if ranks[row, q] > -INFINITY and (best == ABSENT or ranks[row, q] > ranks[row, best]):
            best = q
    return best


cdef inline int pair_up(int n_a, int n_b, const float[:, ::1] means, float[:, ::1] ranks, int[::1] row_best,
                        int[:, ::1] pairs, float[::1] pair_scores) noexcept nogil:
    """Takes the best entry of the rank matrix, strikes out its row and column, and so on; gives the number taken.

    The same pairs as from the sorted list of all entries, without the list: only rows that lose their best entry are
    searched again.
    """
    cdef int p, q, best, taken = 0
    for p in range(n_a):
        row_best[p] = best_column(ranks, p, n_b)
    while True:
        best = ABSENT
        for p in range(n_a):
            if row_best[p] != ABSENT and (best == ABSENT or ranks[p, row_best[p]] > ranks[best, row_best[best]]):
                best = p
        if best == ABSENT:
            return taken
        q = row_best[best]
        pairs[taken, 0] = best
        pairs[taken, 1] = q
        pair_scores[taken] = means[best, q]
        taken = taken + 1
        row_best[best] = ABSENT
        for p in range(n_a):
            ranks[p, q] = -INFINITY
            if row_best[p] == q:
                row_best[p] = best_column(ranks, p, n_b)


def connect(Workspace work, const value_t[:, :, :] pafs, float scale, float zero_point, float threshold_raw,
            int samples, int needed, float reach, float penalty_from, float peak_weight):
    """For every limb, pairs peaks of its two parts, best first, each peak used once.

    `reach`: longest limb, in cells. Limbs longer than `penalty_from` cells lose rank in proportion (upstream's rule).
    Writes `pairs`, `pair_scores` and `pair_counts`.
    Returns False where a sampled value is NaN or infinite.
    """
    cdef float[:, :, ::1] peaks = work.peaks
    cdef const int[:, ::1] limbs = work.limbs
    cdef float[:, ::1] means = work.means, ranks = work.ranks, pair_scores = work.pair_scores
    cdef int[::1] counts = work.counts, row_best = work.row_best, pair_counts = work.pair_counts
    cdef int[:, :, ::1] pairs = work.pairs
    cdef int limb, a, b, p, q
    cdef float dx, dy, length, mean, rank
    cdef const value_t* paf_x
    cdef const value_t* paf_y
    cdef bint finite = True
    cdef Field field
    field.row = pafs.strides[0] // <Py_ssize_t>sizeof(value_t)
    field.column = pafs.strides[1] // <Py_ssize_t>sizeof(value_t)
    field.last_row = <int>pafs.shape[0] - 1
    field.last_column = <int>pafs.shape[1] - 1
    field.zero_point = zero_point
    field.threshold_raw = threshold_raw
    field.step = <float>1.0 / (samples - 1)
    with nogil:
        for limb in range(limbs.shape[0]):
            a = limbs[limb, 0]
            b = limbs[limb, 1]
            paf_x = &pafs[0, 0, limbs[limb, 2]]
            paf_y = &pafs[0, 0, limbs[limb, 3]]
            for p in range(counts[a]):
                for q in range(counts[b]):
                    ranks[p, q] = -INFINITY
                    dx = peaks[b, q, 0] - peaks[a, p, 0]
                    dy = peaks[b, q, 1] - peaks[a, p, 1]
                    if fabsf(dx) > reach or fabsf(dy) > reach:
                        continue
                    length = sqrtf(dx * dx + dy * dy)
                    if length > reach or length < <float>0.1:
                        continue
                    mean = scale * along_limb(paf_x, paf_y, &field, peaks[a, p, 0], peaks[a, p, 1], dx, dy, length,
                                              samples, needed)
                    if mean == 0:
                        continue
                    rank = mean if length <= penalty_from else mean + (penalty_from / length - 1)
                    if not isfinite(rank):
                        finite = False
                    elif mean > 0 and rank > 0:
                        means[p, q] = mean
                        ranks[p, q] = rank + peak_weight * (peaks[a, p, 2] + peaks[b, q, 2])
            pair_counts[limb] = pair_up(counts[a], counts[b], means, ranks, row_best, pairs[limb], pair_scores[limb])
    return finite
