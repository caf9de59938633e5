"""Deal groups of cases out to parts so that every part gets its share of every class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from overread.data.groups import Groups, Whole


def dealt(groups: Groups, chosen: Whole, shares: Sequence[float], *, seed: int) -> Whole:
    """Deal groups out to parts, the rarest class and its largest groups first, each to the part that needs it most.

    This is the greedy rule of Sechidis et al. (On the Stratification of Multi-label Data, 2011), with one need that
    weighs all classes of a group at once, so that groups of several cases and marks can be dealt as well: giving each
    group to the part with the greatest need keeps the sum of squared errors of the shares as low as one step can.

    Args:
        groups: all groups.
        chosen: `(dealt,)`: which of them to deal.
        shares: of each part; their sum is 1.
        seed: of the order among groups that are alike.

    Returns:
        `(dealt,)`: the part of each chosen group.
    """
    counts, sizes = groups.counts[chosen], groups.sizes[chosen].tolist()
    total = counts.sum(axis=0)
    # An error of one case weighs more where a class has few: errors are counted as shares of the class.
    weight = (1 / np.maximum(total, 1) ** 2).tolist()
    entries: list[list[tuple[int, int]]] = [[] for _ in sizes]
    for group, column in np.argwhere(counts).tolist():
        entries[group].append((column, int(counts[group, column])))

    given = [[0] * len(weight) for _ in shares]
    seen = [0] * len(weight)
    cases_given, cases_seen = [0] * len(shares), 0
    part = np.zeros(len(sizes), dtype=np.int64)
    for group in _order(counts, seed=seed).tolist():
        cases_seen += sizes[group]
        for column, n in entries[group]:
            seen[column] += n
        best, greatest = 0, (-np.inf, -np.inf)
        for number, share in enumerate(shares):
            own = given[number]
            need = 0.0
            for column, n in entries[group]:
                need += weight[column] * n * (share * seen[column] - own[column])
            # Parts in equal need of a class are told apart by their number of cases.
            if (both := (need, share * cases_seen - cases_given[number])) > greatest:
                best, greatest = number, both
        part[group] = best
        cases_given[best] += sizes[group]
        for column, n in entries[group]:
            given[best][column] += n
    return part


def _order(counts: Whole, *, seed: int) -> Whole:
    """`(group,)`: by the rarest class that each shows, then by how much it shows of it, then by chance."""
    shown_by = (counts > 0).sum(axis=0)
    rarity = np.where(counts > 0, shown_by, len(counts) + 1)
    rarest = rarity.argmin(axis=1)
    rows = np.arange(len(counts))
    chance = np.random.default_rng(seed).permutation(len(counts))
    order: Whole = np.lexsort((chance, -counts[rows, rarest], rarest, rarity[rows, rarest]))
    return order
