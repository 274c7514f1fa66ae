# Connections joined into people, and people written out. Part of _decode.pyx.

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

    `keypoints`: x, y in frame pixels (grid times scale plus offset, cells measured at their centers), score; zeros where
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
