# People: limbs that share peaks. Included by _decode.pyx.

cdef inline void add_keypoint(int person, int keypoint, int peak, float limb_score, int[:, ::1] owners,
                              int[:, ::1] people, float[::1] limb_score_sums, int[::1] keypoint_counts) noexcept nogil:
    """Give a peak that has no owner to a person, unless the person already has this keypoint."""
    if people[person, keypoint] == ABSENT:
        people[person, keypoint] = peak
        owners[keypoint, peak] = person
        keypoint_counts[person] += 1
        limb_score_sums[person] += limb_score


cdef inline void merge_people(int one, int two, float limb_score, int[:, ::1] owners, int[:, ::1] people,
                              float[::1] limb_score_sums, int[::1] keypoint_counts) noexcept nogil:
    """Merge the second person into the first, unless both have the same keypoint."""
    cdef int keypoint, total = <int>people.shape[1]
    for keypoint in range(total):
        if people[one, keypoint] != ABSENT and people[two, keypoint] != ABSENT:
            return
    for keypoint in range(total):
        if people[two, keypoint] != ABSENT:
            people[one, keypoint] = people[two, keypoint]
            owners[keypoint, people[two, keypoint]] = one
    keypoint_counts[one] += keypoint_counts[two]
    limb_score_sums[one] += limb_score_sums[two] + limb_score
    keypoint_counts[two] = 0


def assemble(Workspace work):
    """Assemble people from the pairs of all limbs, in the order of the skeleton's limbs.

    Two people that a limb connects are merged if they have no keypoint in common. Otherwise both stay unchanged, so
    that no peak ever belongs to two people. Writes `people`, `owners`, `limb_score_sums` (sum of the scores of the
    person's pairs) and `keypoint_counts` (0 for a row that was merged into another one).

    Returns:
        Number of rows of `people` in use, merged ones included.
    """
    cdef const int[:, ::1] limbs = work.limbs
    cdef const unsigned char[::1] can_seed = work.can_seed
    cdef int[:, :, ::1] pairs = work.pairs
    cdef float[:, ::1] pair_scores = work.pair_scores
    cdef int[::1] pair_counts = work.pair_counts, keypoint_counts = work.keypoint_counts
    cdef int[:, ::1] owners = work.owners, people = work.people
    cdef float[::1] limb_score_sums = work.limb_score_sums
    cdef int limb, k, a, b, p, q, one, two, rows = 0
    cdef float score
    with nogil:
        owners[:, :] = ABSENT
        for limb in range(limbs.shape[0]):
            a = limbs[limb, 0]
            b = limbs[limb, 1]
            for k in range(pair_counts[limb]):
                p = pairs[limb, k, 0]
                q = pairs[limb, k, 1]
                score = pair_scores[limb, k]
                one = owners[a, p]
                two = owners[b, q]
                if one == ABSENT and two == ABSENT:
                    if can_seed[limb]:
                        people[rows, :] = ABSENT
                        keypoint_counts[rows] = 0
                        limb_score_sums[rows] = 0
                        add_keypoint(rows, a, p, score, owners, people, limb_score_sums, keypoint_counts)
                        add_keypoint(rows, b, q, 0, owners, people, limb_score_sums, keypoint_counts)
                        rows = rows + 1
                elif one == two:
                    limb_score_sums[one] += score
                elif two == ABSENT:
                    add_keypoint(one, b, q, score, owners, people, limb_score_sums, keypoint_counts)
                elif one == ABSENT:
                    add_keypoint(two, a, p, score, owners, people, limb_score_sums, keypoint_counts)
                else:
                    merge_people(one, two, score, owners, people, limb_score_sums, keypoint_counts)
    return rows


def collect(Workspace work, int rows, int min_keypoints, float min_score, float scale_x, float scale_y,
            float offset_x, float offset_y):
    """Write the poses of all people with enough keypoints and score, best first.

    Writes `scores` (sum of a person's pair scores divided by the number of limbs, so a missing limb counts 0) and
    `keypoints` (x, y in frame pixels, score; all 0 if the keypoint is absent).

    Args:
        rows: Number of rows of `people` in use.
        scale_x, scale_y, offset_x, offset_y: frame pixels = scale * (grid position + 0.5) + offset.

    Returns:
        Number of poses.
    """
    cdef float[:, :, ::1] peaks = work.peaks, keypoints = work.keypoints
    cdef int[:, ::1] people = work.people
    cdef float[::1] limb_score_sums = work.limb_score_sums, scores = work.scores
    cdef int[::1] keypoint_counts = work.keypoint_counts, sorted_people = work.sorted_people
    cdef Py_ssize_t limb_count = work.limbs.shape[0]
    cdef int person, keypoint, peak, rank, i, count = 0
    cdef float score
    with nogil:
        for person in range(rows):
            score = limb_score_sums[person] / limb_count
            if keypoint_counts[person] < min_keypoints or score < min_score:
                continue
            # Insertion sort: it keeps the order of people with the same score.
            rank = count
            while rank > 0 and scores[rank - 1] < score:
                scores[rank] = scores[rank - 1]
                sorted_people[rank] = sorted_people[rank - 1]
                rank = rank - 1
            scores[rank] = score
            sorted_people[rank] = person
            count = count + 1
        for i in range(count):
            for keypoint in range(people.shape[1]):
                peak = people[sorted_people[i], keypoint]
                if peak == ABSENT:
                    keypoints[i, keypoint, 0] = 0
                    keypoints[i, keypoint, 1] = 0
                    keypoints[i, keypoint, 2] = 0
                else:
                    keypoints[i, keypoint, 0] = scale_x * (peaks[keypoint, peak, 0] + <float>0.5) + offset_x
                    keypoints[i, keypoint, 1] = scale_y * (peaks[keypoint, peak, 1] + <float>0.5) + offset_y
                    keypoints[i, keypoint, 2] = peaks[keypoint, peak, 2]
    return count
