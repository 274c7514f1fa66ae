# Peaks of the heatmaps. Part of _decode.pyx.

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
    """-1 where a cell of the 3x3 neighborhood is higher, 0 where one is equal, 1 where all are lower.

    The distances to the neighbors are in elements, 0 at the border, where the cell then equals itself.
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
    cdef long long sum_x = 0, sum_y = 0
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
    middle_x[0] = <float>(<double>sum_x / size)
    middle_y[0] = <float>(<double>sum_y / size)
    return size if is_peak else 0


cdef inline bint refine(const value_t[:, :, :] heatmaps, int y, int x, int c, float* peak_x,
                        float* peak_y) noexcept nogil:
    """The peak at (y, x) to a fraction of a cell; False where a neighbor is not finite."""
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

    A plateau (equal neighboring cells) is one peak at its center of gravity; `visited` marks the cells of plateaus
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
