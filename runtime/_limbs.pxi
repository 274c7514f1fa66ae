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
    int samples
    int min_samples

cdef enum:
    BATCH = 128

cdef struct Batch:
    # Pairs of one peak with several peaks of the other keypoint. It is on the stack (10 KB). The compiler knows that
    # arrays of one struct do not overlap, and vectorizes the loops.
    float x[BATCH]          # other peak
    float y[BATCH]
    float length[BATCH]
    int count

    # Entries that are not rejected yet, and some that are.
    int number[BATCH]       # index in the three arrays above
    float ux[BATCH]         # direction
    float uy[BATCH]
    float step_x[BATCH]     # from sample to sample
    float step_y[BATCH]
    float threshold[BATCH]
    float total[BATCH]      # sum of the samples above the threshold
    int passed[BATCH]       # number of samples above the threshold; less than 0 if the length is out of range
    int entries

    # Current sample.
    int cell[BATCH]
    float u[BATCH]
    float v[BATCH]
    float values[BATCH][8]  # x, y of the PAF in four cells


cdef inline float score_limb(const value_t* paf_x, const value_t* paf_y, const PafSampling* paf, float x0, float y0,
                             float dx, float dy, float length) noexcept nogil:
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
    position = (paf.samples - 1) // 2
    dx = dx * paf.step
    dy = dy * paf.step
    for s in range(paf.samples):
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
        elif s + 1 - passed > paf.samples - paf.min_samples:
            return 0
    return total / passed - paf.zero_point * (ux + uy)


cdef inline void pack_paf(const value_t* paf_x, const value_t* paf_y, const PafSampling* paf,
                          float[:, :, ::1] packed) noexcept nogil:
    """Copy the two channels of a PAF side by side as floats, with the last row and the last column twice.

    The copy fits into the processor's first-level cache, and every cell has a right and a lower neighbor.
    """
    cdef Py_ssize_t cell
    cdef int i, j, last = paf.last_column
    for j in range(paf.last_row + 2):
        cell = min(j, paf.last_row) * paf.row
        for i in range(last + 1):
            packed[j, i, 0] = paf_x[cell + i * paf.column]
            packed[j, i, 1] = paf_y[cell + i * paf.column]
        packed[j, last + 1, 0] = packed[j, last, 0]
        packed[j, last + 1, 1] = packed[j, last, 1]


cdef inline void start_batch(Batch* batch, float x0, float y0, float max_limb_length,
                             const PafSampling* paf) noexcept nogil:
    """Compute length and direction of the pairs of the peak at (x0, y0) with all peaks of the batch."""
    cdef float step = paf.step, zero_point = paf.zero_point, min_agreement = paf.min_agreement
    cdef float dx, dy, length, inverse
    cdef int k, possible, rejected = -paf.samples
    for k in range(batch.count):
        dx = batch.x[k] - x0
        dy = batch.y[k] - y0
        length = sqrtf(dx * dx + dy * dy)
        possible = (length <= max_limb_length) & (length >= <float>0.1)
        # No branch, so that the loop is vectorized: pairs out of range get the direction (0, 0).
        inverse = possible / max(length, <float>0.1)
        batch.length[k] = length
        batch.number[k] = k
        batch.ux[k] = dx * inverse
        batch.uy[k] = dy * inverse
        batch.step_x[k] = dx * step
        batch.step_y[k] = dy * step
        batch.threshold[k] = min_agreement + zero_point * (batch.ux[k] + batch.uy[k])
        batch.total[k] = 0
        batch.passed[k] = rejected * (1 - possible)
    batch.entries = batch.count


cdef inline void remove_rejected(Batch* batch, int min_passed) noexcept nogil:
    """Remove the entries with fewer than `min_passed` samples above the threshold."""
    cdef int k, kept = 0
    for k in range(batch.entries):
        batch.number[kept] = batch.number[k]
        batch.ux[kept] = batch.ux[k]
        batch.uy[kept] = batch.uy[k]
        batch.step_x[kept] = batch.step_x[k]
        batch.step_y[kept] = batch.step_y[k]
        batch.threshold[kept] = batch.threshold[k]
        batch.total[kept] = batch.total[k]
        batch.passed[kept] = batch.passed[k]
        kept = kept + (batch.passed[k] >= min_passed)
    batch.entries = kept


cdef inline bint score_batch(const float* packed, const PafSampling* paf, float x0, float y0,
                             Batch* batch) noexcept nogil:
    """Do the work of `score_limb` for all pairs of a batch: the same samples in the same order, with the same results.

    With many peaks, most of the decoder's time is spent here. One sample of all pairs is read before the next sample of
    any. Reason: no branch depends on the PAF (in noise the processor predicts such a branch wrongly half the time), and
    two of the three loops are vectorized. The other loop copies the four cells of each pair. Rejected pairs stay in the
    batch until they are a quarter of it.

    Args:
        packed: Cell (0, 0) of the copy made by `pack_paf`. `paf` describes this copy.

    Returns:
        False if a sample is not finite.
    """
    cdef int k, s, i, j, alive, above, min_passed, not_finite = 0
    cdef int position = (paf.samples - 1) // 2, row = <int>paf.row
    cdef float x, y, a, b, c, d, projection
    for s in range(paf.samples):
        position = position + (s if s % 2 else -s)
        min_passed = s + 1 - (paf.samples - paf.min_samples)
        for k in range(batch.entries):
            x = x0 + position * batch.step_x[k]
            y = y0 + position * batch.step_y[k]
            i = <int>x
            j = <int>y
            batch.u[k] = x - i
            batch.v[k] = y - j
            batch.cell[k] = j * row + 2 * i
        for k in range(batch.entries):
            check_cell(batch.cell[k] // row, batch.cell[k] % row // 2, paf.last_row, paf.last_column)
            memcpy(&batch.values[k][0], &packed[batch.cell[k]], 4 * sizeof(float))
            memcpy(&batch.values[k][4], &packed[batch.cell[k] + row], 4 * sizeof(float))
        alive = 0
        for k in range(batch.entries):
            a = batch.values[k][0] * batch.ux[k] + batch.values[k][1] * batch.uy[k]
            b = batch.values[k][2] * batch.ux[k] + batch.values[k][3] * batch.uy[k]
            c = batch.values[k][4] * batch.ux[k] + batch.values[k][5] * batch.uy[k]
            d = batch.values[k][6] * batch.ux[k] + batch.values[k][7] * batch.uy[k]
            a = a + batch.u[k] * (b - a)
            c = c + batch.u[k] * (d - c)
            projection = a + batch.v[k] * (c - a)
            above = projection > batch.threshold[k]
            not_finite = not_finite | (projection - projection != 0)
            batch.total[k] = batch.total[k] + (projection if above else 0)
            batch.passed[k] = batch.passed[k] + above
            alive = alive + (batch.passed[k] >= min_passed)
        if alive == 0:
            batch.entries = 0
            break
        if 4 * alive < 3 * batch.entries:
            remove_rejected(batch, min_passed)
    remove_rejected(batch, paf.min_samples)
    return not not_finite


cdef inline int to_key(float rank) noexcept nogil:
    """Return an integer that is in the same order as the rank. Integers are compared faster; equal ranks stay equal."""
    cdef int bits
    rank = rank + <float>0.0                         # -0 becomes 0
    memcpy(&bits, &rank, sizeof(int))
    return bits ^ ((bits >> 31) & INT_MAX)


cdef inline void find_best_column(Workspace work, int row, int columns) noexcept nogil:
    """Write the free column of the highest key in a row (the first of equal ones) and the key, or ABSENT and NO_KEY."""
    cdef const int* keys = &work.keys[row, 0]
    cdef const int* free = &work.free[0]
    cdef int q, key, best = NO_KEY
    for q in range(columns):
        key = keys[q] if free[q] else NO_KEY
        best = max(best, key)
    work.best_keys[row] = best
    work.best_columns[row] = ABSENT
    if best != NO_KEY:
        q = 0
        while keys[q] != best or not free[q]:
            q = q + 1
        work.best_columns[row] = q


cdef inline void pair_greedily(Workspace work, int limb, int n_a, int n_b) noexcept nogil:
    """Pair peaks by rank: take the highest key of the matrix, remove its row and column, repeat.

    The pairs are those of a sorted list of candidates, but no list is needed: only rows that lose their best column are
    searched again. Writes the pairs of the limb, their scores and their number.
    """
    cdef const int* best_keys = &work.best_keys[0]
    cdef int p, q, best, best_key, count = 0
    for q in range(n_b):
        work.free[q] = 1
    for p in range(n_a):
        find_best_column(work, p, n_b)
    while True:
        best_key = NO_KEY
        for p in range(n_a):
            best_key = max(best_key, best_keys[p])
        if best_key == NO_KEY:
            break
        best = 0
        while best_keys[best] != best_key:
            best = best + 1
        q = work.best_columns[best]
        work.pairs[limb, count, 0] = best
        work.pairs[limb, count, 1] = q
        work.pair_scores[limb, count] = work.candidate_scores[best, q]
        count = count + 1
        work.best_columns[best] = ABSENT
        work.best_keys[best] = NO_KEY
        work.free[q] = 0
        for p in range(n_a):
            if work.best_columns[p] == q:
                find_best_column(work, p, n_b)
    work.pair_counts[limb] = count


cdef inline bint rank_pair(float agreement, float length, float length_penalty_start, float peak_scores,
                           float* candidate_score, int* key) noexcept nogil:
    """Write score and key of a pair, unless it cannot be connected. Returns False if its rank is not finite."""
    cdef float rank
    if agreement == 0:
        return True
    rank = agreement if length <= length_penalty_start else agreement + (length_penalty_start / length - 1)
    if not isfinite(rank):
        return False
    if agreement > 0 and rank > 0:
        candidate_score[0] = agreement
        key[0] = to_key(rank + peak_scores)
    return True


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
    cdef float[:, :, ::1] peaks = work.peaks, packed = work.packed_paf
    cdef const int[:, ::1] limbs = work.limbs
    cdef float[:, ::1] candidate_scores = work.candidate_scores
    cdef int[:, ::1] keys = work.keys
    cdef int[::1] peak_counts = work.peak_counts
    # Copying a PAF costs about as much as scoring this number of pairs saves.
    cdef int min_pairs_for_batches = <int>(pafs.shape[0] * pafs.shape[1]) // 8
    cdef int limb, a, b, p, q, k, first
    cdef float dx, dy, length, agreement
    cdef const value_t* paf_x
    cdef const value_t* paf_y
    cdef bint finite = True
    cdef PafSampling paf, packed_sampling
    cdef Batch batch
    paf.row = pafs.strides[0] // <Py_ssize_t>sizeof(value_t)
    paf.column = pafs.strides[1] // <Py_ssize_t>sizeof(value_t)
    paf.last_row = <int>pafs.shape[0] - 1
    paf.last_column = <int>pafs.shape[1] - 1
    paf.zero_point = zero_point
    paf.min_agreement = min_agreement
    paf.step = <float>1.0 / (samples - 1)
    paf.samples = samples
    paf.min_samples = min_samples
    packed_sampling = paf
    packed_sampling.row = 2 * packed.shape[1]
    with nogil:
        for limb in range(limbs.shape[0]):
            a = limbs[limb, 0]
            b = limbs[limb, 1]
            paf_x = &pafs[0, 0, limbs[limb, 2]]
            paf_y = &pafs[0, 0, limbs[limb, 3]]
            if peak_counts[a] * peak_counts[b] < min_pairs_for_batches:
                for p in range(peak_counts[a]):
                    for q in range(peak_counts[b]):
                        keys[p, q] = NO_KEY
                        dx = peaks[b, q, 0] - peaks[a, p, 0]
                        dy = peaks[b, q, 1] - peaks[a, p, 1]
                        if fabsf(dx) > max_limb_length or fabsf(dy) > max_limb_length:
                            continue
                        length = sqrtf(dx * dx + dy * dy)
                        if length > max_limb_length or length < <float>0.1:
                            continue
                        agreement = scale * score_limb(paf_x, paf_y, &paf, peaks[a, p, 0], peaks[a, p, 1], dx, dy,
                                                       length)
                        finite = rank_pair(agreement, length, length_penalty_start,
                                           peak_weight * (peaks[a, p, 2] + peaks[b, q, 2]), &candidate_scores[p, q],
                                           &keys[p, q]) and finite
            else:
                pack_paf(paf_x, paf_y, &paf, packed)
                first = 0
                while first < peak_counts[b]:
                    batch.count = min(peak_counts[b] - first, BATCH)
                    for k in range(batch.count):
                        batch.x[k] = peaks[b, first + k, 0]
                        batch.y[k] = peaks[b, first + k, 1]
                    for p in range(peak_counts[a]):
                        start_batch(&batch, peaks[a, p, 0], peaks[a, p, 1], max_limb_length, &packed_sampling)
                        finite = score_batch(&packed[0, 0, 0], &packed_sampling, peaks[a, p, 0], peaks[a, p, 1],
                                             &batch) and finite
                        for k in range(batch.count):
                            keys[p, first + k] = NO_KEY
                        for k in range(batch.entries):
                            q = first + batch.number[k]
                            agreement = scale * (batch.total[k] / batch.passed[k]
                                                 - zero_point * (batch.ux[k] + batch.uy[k]))
                            finite = rank_pair(agreement, batch.length[batch.number[k]], length_penalty_start,
                                               peak_weight * (peaks[a, p, 2] + peaks[b, q, 2]),
                                               &candidate_scores[p, q], &keys[p, q]) and finite
                    first = first + batch.count
            pair_greedily(work, limb, peak_counts[a], peak_counts[b])
    return finite
