"""The decoder's kernel: peaks, limb connections, people. See `decode.py` for the contract.

Four functions, called in this order once a frame. Each works on the arrays of a `Workspace`, which its caller
allocated, validates nothing, releases the GIL and allocates nothing. The maps are read in the type the interpreter gives (float32, int8, uint8,
int16): thresholds come in raw units, and only sampled values are scaled. The channels of a cell must lie side by
side; rows and cells may have gaps (both maps may be slices of one tensor). Every function has a plain NumPy twin in
tests/decoder_twin.py.
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


cdef inline float parabola(float before, float here, float after) noexcept nogil:
    """Offset, at most half a cell, of the maximum of the parabola through (-1, before), (0, here), (1, after)."""
    cdef float curvature = before - 2 * here + after
    cdef float offset
    if curvature > -1e-6:
        return 0
    offset = 0.5 * (before - after) / curvature
    return min(max(offset, <float>-0.5), <float>0.5)


cdef inline void keep(float[:, ::1] peaks, int* count, float x, float y, float score) noexcept nogil:
    """Appends a peak; when the part is full, replaces its weakest peak if this one is stronger."""
    cdef int slot = count[0], capacity = <int>peaks.shape[0], i
    if slot == capacity:
        slot = 0
        for i in range(1, capacity):
            if peaks[i, 2] < peaks[slot, 2]:
                slot = i
        if peaks[slot, 2] >= score:
            return
    else:
        count[0] = slot + 1
    peaks[slot, 0] = x
    peaks[slot, 1] = y
    peaks[slot, 2] = score


cdef inline int compare(const value_t* cell, Py_ssize_t up, Py_ssize_t down, Py_ssize_t left,
                        Py_ssize_t right) noexcept nogil:
    """-1 where a cell of the 3x3 neighbourhood is higher, 0 where one is equal, 1 where all are lower.

    The distances to the neighbours are in elements, 0 at the border, where the cell then equals itself.
    """
    cdef value_t value = cell[0]
    if cell[-left] > value or cell[right] > value or cell[-up] > value or cell[down] > value:
        return -1
    if cell[-up - left] > value or cell[right - up] > value or cell[down - left] > value or cell[down + right] > value:
        return -1
    if cell[-left] == value or cell[right] == value or cell[-up] == value or cell[down] == value:
        return 0
    if (cell[-up - left] == value or cell[right - up] == value or cell[down - left] == value
            or cell[down + right] == value):
        return 0
    return 1


cdef inline int walk_plateau(const value_t[:, :, :] heatmaps, int y, int x, int c, int[:, :, ::1] visited, int visit,
                             int[::1] stack, float* middle_x, float* middle_y) noexcept nogil:
    """Walks the equal cells around (y, x): how many they are, 0 where one beside them is higher, and their middle."""
    cdef int height = <int>heatmaps.shape[0], width = <int>heatmaps.shape[1]
    cdef int i, j, cell_x, cell_y, top = 1, size = 0
    cdef float sum_x = 0, sum_y = 0
    cdef value_t value = heatmaps[y, x, c]
    cdef bint is_peak = True
    visited[y, x, c] = visit
    stack[0] = y * width + x
    while top > 0:
        top = top - 1
        cell_y = stack[top] // width
        cell_x = stack[top] % width
        size = size + 1
        sum_x = sum_x + cell_x
        sum_y = sum_y + cell_y
        for j in range(max(cell_y - 1, 0), min(cell_y + 2, height)):
            for i in range(max(cell_x - 1, 0), min(cell_x + 2, width)):
                if heatmaps[j, i, c] > value:
                    is_peak = False
                elif heatmaps[j, i, c] == value and visited[j, i, c] != visit:
                    visited[j, i, c] = visit
                    stack[top] = j * width + i
                    top = top + 1
    middle_x[0] = sum_x / size
    middle_y[0] = sum_y / size
    return size if is_peak else 0


cdef inline bint refine(const value_t[:, :, :] heatmaps, int y, int x, int c, float* peak_x,
                        float* peak_y) noexcept nogil:
    """The peak at (y, x) to a fraction of a cell; False where a neighbour is not finite."""
    cdef int height = <int>heatmaps.shape[0], width = <int>heatmaps.shape[1]
    cdef float here = heatmaps[y, x, c], before, after
    peak_x[0] = x
    peak_y[0] = y
    if 0 < x < width - 1:
        before = heatmaps[y, x - 1, c]
        after = heatmaps[y, x + 1, c]
        peak_x[0] = x + parabola(before, here, after)
    if 0 < y < height - 1:
        before = heatmaps[y - 1, x, c]
        after = heatmaps[y + 1, x, c]
        peak_y[0] = y + parabola(before, here, after)
    return isfinite(peak_x[0]) and isfinite(peak_y[0])


def find_peaks(Workspace work, const value_t[:, :, :] heatmaps, float scale, float zero_point, float threshold_raw,
               int visit):
    """Local 3x3 maxima above a threshold, refined to a fraction of a cell.

    A plateau (equal neighbouring cells) is one peak at its centre of gravity; `visited` marks the cells of plateaus
    already walked with the number `visit` (another for every frame) and `stack` is the walk's memory. Writes `peaks`
    and `counts`.
    Returns False where a value that matters is NaN or infinite.
    """
    cdef float[:, :, ::1] peaks = work.peaks
    cdef int[::1] counts = work.counts, stack = work.stack
    cdef int[:, :, ::1] visited = work.visited
    cdef int height = <int>heatmaps.shape[0], width = <int>heatmaps.shape[1], parts = <int>peaks.shape[0]
    cdef Py_ssize_t row = heatmaps.strides[0] // <Py_ssize_t>sizeof(value_t)
    cdef Py_ssize_t column = heatmaps.strides[1] // <Py_ssize_t>sizeof(value_t)
    cdef Py_ssize_t up, down, left, right
    cdef int x, y, c, above, relation, size
    cdef float value, peak_x, peak_y
    cdef const value_t* cell
    cdef bint finite = True
    with nogil:
        for c in range(parts):
            counts[c] = 0
        for y in range(height):
            up = row if y > 0 else 0
            down = row if y < height - 1 else 0
            for x in range(width):
                cell = &heatmaps[y, x, 0]
                # Most cells hold nothing: this pass over the channels has no branches and becomes vector code.
                above = 0
                for c in range(parts):
                    above = above | (not cell[c] <= threshold_raw)       # true for NaN, which is reported below
                if not above:
                    continue
                left = column if x > 0 else 0
                right = column if x < width - 1 else 0
                for c in range(parts):
                    value = cell[c]
                    if value <= threshold_raw:
                        continue
                    if not isfinite(value):
                        finite = False
                        continue
                    relation = compare(cell + c, up, down, left, right)
                    if relation < 0:
                        continue
                    size = 1
                    if relation == 0:
                        if visited[y, x, c] == visit:
                            continue
                        size = walk_plateau(heatmaps, y, x, c, visited, visit, stack, &peak_x, &peak_y)
                    if size == 1:
                        finite = refine(heatmaps, y, x, c, &peak_x, &peak_y) and finite
                    if size and finite:
                        keep(peaks[c], &counts[c], peak_x, peak_y, (value - zero_point) * scale)
    return finite


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


cdef inline void add_part(int person, int part, int peak, float score, int[:, ::1] owner, int[:, ::1] people,
                          float[::1] limb_sums, int[::1] sizes) noexcept nogil:
    """Gives a free peak to a person that lacks the part."""
    if people[person, part] == ABSENT:
        people[person, part] = peak
        owner[part, peak] = person
        sizes[person] += 1
        limb_sums[person] += score


cdef inline void merge(int one, int two, float score, int[:, ::1] owner, int[:, ::1] people, float[::1] limb_sums,
                       int[::1] sizes) noexcept nogil:
    """Makes two partial people one, where they share no part."""
    cdef int part, parts = <int>people.shape[1]
    for part in range(parts):
        if people[one, part] != ABSENT and people[two, part] != ABSENT:
            return
    for part in range(parts):
        if people[two, part] != ABSENT:
            people[one, part] = people[two, part]
            owner[part, people[two, part]] = one
    sizes[one] += sizes[two]
    limb_sums[one] += limb_sums[two] + score
    sizes[two] = 0


def assemble(Workspace work):
    """Joins connections into people.

    Writes `people`; `limb_sums`: sum of the connections' scores; `sizes`: number of keypoints, 0 for rows that were
    merged into another. Returns the number of rows used. `owner` holds each peak's person. Two partial people that a limb joins become one where they share no part; otherwise both stay as
    they are, so that no peak ever belongs to two people.
    """
    cdef const int[:, ::1] limbs = work.limbs
    cdef const unsigned char[::1] starts = work.starts
    cdef int[:, :, ::1] pairs = work.pairs
    cdef float[:, ::1] pair_scores = work.pair_scores
    cdef int[::1] pair_counts = work.pair_counts, sizes = work.sizes
    cdef int[:, ::1] owner = work.owner, people = work.people
    cdef float[::1] limb_sums = work.limb_sums
    cdef int limb, k, a, b, p, q, one, two, used = 0
    cdef float score
    with nogil:
        owner[:, :] = ABSENT
        for limb in range(limbs.shape[0]):
            a = limbs[limb, 0]
            b = limbs[limb, 1]
            for k in range(pair_counts[limb]):
                p = pairs[limb, k, 0]
                q = pairs[limb, k, 1]
                score = pair_scores[limb, k]
                one = owner[a, p]
                two = owner[b, q]
                if one == ABSENT and two == ABSENT:
                    if starts[limb]:
                        people[used, :] = ABSENT
                        sizes[used] = 0
                        limb_sums[used] = 0
                        add_part(used, a, p, score, owner, people, limb_sums, sizes)
                        add_part(used, b, q, 0, owner, people, limb_sums, sizes)
                        used = used + 1
                elif one == two:
                    limb_sums[one] += score
                elif two == ABSENT:
                    add_part(one, b, q, score, owner, people, limb_sums, sizes)
                elif one == ABSENT:
                    add_part(two, a, p, score, owner, people, limb_sums, sizes)
                else:
                    merge(one, two, score, owner, people, limb_sums, sizes)
    return used


def collect(Workspace work, int used, int min_keypoints, float min_score, float scale_x, float scale_y,
            float offset_x, float offset_y):
    """Writes the people with enough keypoints and score, best first; returns how many.

    `keypoints`: x, y in frame pixels (grid times scale plus offset, cells measured at their centres), score; zeros where
    absent. `scores`: sum of limb scores over the number of limbs.
    """
    cdef float[:, :, ::1] peaks = work.peaks, keypoints = work.keypoints
    cdef int[:, ::1] people = work.people
    cdef float[::1] limb_sums = work.limb_sums, scores = work.scores
    cdef int[::1] sizes = work.sizes, order = work.order
    cdef Py_ssize_t limb_count = work.limbs.shape[0]
    cdef int person, part, peak, rank, i, kept = 0
    cdef float score
    with nogil:
        for person in range(used):
            score = limb_sums[person] / limb_count
            if sizes[person] < min_keypoints or score < min_score:
                continue
            # Insertion keeps people of equal score in the order in which they were found.
            rank = kept
            while rank > 0 and scores[rank - 1] < score:
                scores[rank] = scores[rank - 1]
                order[rank] = order[rank - 1]
                rank = rank - 1
            scores[rank] = score
            order[rank] = person
            kept = kept + 1
        for i in range(kept):
            for part in range(people.shape[1]):
                peak = people[order[i], part]
                if peak == ABSENT:
                    keypoints[i, part, 0] = 0
                    keypoints[i, part, 1] = 0
                    keypoints[i, part, 2] = 0
                else:
                    keypoints[i, part, 0] = scale_x * (peaks[part, peak, 0] + <float>0.5) + offset_x
                    keypoints[i, part, 1] = scale_y * (peaks[part, peak, 1] + <float>0.5) + offset_y
                    keypoints[i, part, 2] = peaks[part, peak, 2]
    return kept
