# Peaks of the heatmaps. Included by _decode.pyx.

cdef inline float fit_parabola(float before, float here, float after) noexcept nogil:
    """Return where the parabola through (-1, before), (0, here), (1, after) has its maximum: -0.5 to 0.5 cells."""
    cdef float curvature = before - 2 * here + after
    cdef float offset
    if curvature > -1e-6:
        return 0
    offset = 0.5 * (before - after) / curvature
    return min(max(offset, <float>-0.5), <float>0.5)


cdef inline void add_peak(float[:, ::1] peaks, int* count, float x, float y, float score) noexcept nogil:
    """Append a peak. If the list is full, replace the weakest peak, unless the new one is not stronger."""
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


cdef inline int compare_neighbors(const value_t* cell, Py_ssize_t up, Py_ssize_t down, Py_ssize_t left,
                                  Py_ssize_t right) noexcept nogil:
    """Compare a cell with its 3x3 neighborhood.

    `up`, `down`, `left`, `right`: distances to the neighbors in elements. At the border of the map they are 0: the cell
    is compared with itself, which gives "equal".

    Returns -1 if a neighbor is higher, 0 if the highest neighbor is equal, 1 if all neighbors are lower.
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


cdef inline int measure_plateau(const value_t[:, :, :] heatmaps, int y, int x, int c, int[:, :, ::1] visited,
                                int frame, int[::1] stack, float* center_x, float* center_y) noexcept nogil:
    """Find all cells that are connected to (y, x) and equal to it (flood fill), and their center of gravity.

    Returns the number of cells, or 0 if a cell next to them is higher: then the plateau is not a peak.
    """
    cdef int height = <int>heatmaps.shape[0], width = <int>heatmaps.shape[1]
    cdef int i, j, cell_x, cell_y, top = 1, size = 0
    cdef long long sum_x = 0, sum_y = 0
    cdef value_t value = heatmaps[y, x, c]
    cdef bint is_peak = True
    visited[y, x, c] = frame
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
                elif heatmaps[j, i, c] == value and visited[j, i, c] != frame:
                    visited[j, i, c] = frame
                    stack[top] = j * width + i
                    top = top + 1
    center_x[0] = <float>(<double>sum_x / size)
    center_y[0] = <float>(<double>sum_y / size)
    return size if is_peak else 0


cdef inline bint refine_peak(const value_t[:, :, :] heatmaps, int y, int x, int c, float* peak_x,
                             float* peak_y) noexcept nogil:
    """Compute the sub-cell position of the peak at (y, x). Returns False if a neighbor is not finite."""
    cdef int height = <int>heatmaps.shape[0], width = <int>heatmaps.shape[1]
    cdef float here = heatmaps[y, x, c], before, after
    peak_x[0] = x
    peak_y[0] = y
    if 0 < x < width - 1:
        before = heatmaps[y, x - 1, c]
        after = heatmaps[y, x + 1, c]
        peak_x[0] = x + fit_parabola(before, here, after)
    if 0 < y < height - 1:
        before = heatmaps[y - 1, x, c]
        after = heatmaps[y + 1, x, c]
        peak_y[0] = y + fit_parabola(before, here, after)
    return isfinite(peak_x[0]) and isfinite(peak_y[0])


cdef inline int start_frame(Workspace work) noexcept nogil:
    """Return a frame number that no cell of `visited` holds. `visited` is only cleared when the numbers run out."""
    if work.frame == INT_MAX:
        work.visited[:, :, :] = 0
        work.frame = 0
    work.frame += 1
    return work.frame


def find_peaks(Workspace work, const value_t[:, :, :] heatmaps, float scale, float zero_point, float min_stored):
    """Find the local 3x3 maxima of all heatmaps and refine them to a fraction of a cell.

    A plateau (connected cells of equal value) is one peak at its center of gravity. Writes `peaks` and `peak_counts`.

    Args:
        heatmaps: (height, width, keypoints or more). The first channels are the keypoints'.
        scale, zero_point: real value = (stored value - zero_point) * scale.
        min_stored: Peaks must be higher than this stored value.

    Returns:
        False if a value above the threshold, or a neighbor of a peak, is NaN or infinite.
    """
    cdef float[:, :, ::1] peaks = work.peaks
    cdef int[::1] peak_counts = work.peak_counts, stack = work.stack
    cdef int[:, :, ::1] visited = work.visited
    cdef int height = <int>heatmaps.shape[0], width = <int>heatmaps.shape[1]
    cdef int keypoint_count = <int>peaks.shape[0], frame
    cdef Py_ssize_t row = heatmaps.strides[0] // <Py_ssize_t>sizeof(value_t)
    cdef Py_ssize_t column = heatmaps.strides[1] // <Py_ssize_t>sizeof(value_t)
    cdef Py_ssize_t up, down, left, right
    cdef int x, y, c, above, relation, size
    cdef float value, peak_x, peak_y
    cdef const value_t* cell
    cdef bint finite = True
    with nogil:
        frame = start_frame(work)
        for c in range(keypoint_count):
            peak_counts[c] = 0
        for y in range(height):
            up = row if y > 0 else 0
            down = row if y < height - 1 else 0
            for x in range(width):
                cell = &heatmaps[y, x, 0]
                # Most cells have no channel above the threshold. This loop has no branch, so it is vectorized.
                above = 0
                for c in range(keypoint_count):
                    above = above | (not cell[c] <= min_stored)       # also true for NaN, which is handled below
                if not above:
                    continue
                left = column if x > 0 else 0
                right = column if x < width - 1 else 0
                for c in range(keypoint_count):
                    value = cell[c]
                    if value <= min_stored:
                        continue
                    if not isfinite(value):
                        finite = False
                        continue
                    relation = compare_neighbors(cell + c, up, down, left, right)
                    if relation < 0:
                        continue
                    size = 1
                    if relation == 0:
                        if visited[y, x, c] == frame:
                            continue
                        size = measure_plateau(heatmaps, y, x, c, visited, frame, stack, &peak_x, &peak_y)
                    if size == 1:
                        finite = refine_peak(heatmaps, y, x, c, &peak_x, &peak_y) and finite
                    if size and finite:
                        add_peak(peaks[c], &peak_counts[c], peak_x, peak_y, (value - zero_point) * scale)
    return finite
