"""The oracle of the metrics: every threshold, every region, one pixel at a time, in fractions."""

from fractions import Fraction
from itertools import pairwise

import numpy as np


def slow_counts(scores, labels):
    pairs = list(zip(scores.ravel().tolist(), labels.ravel().tolist(), strict=True))
    return [
        (
            threshold,
            sum(1 for score, label in pairs if label and score >= threshold),
            sum(1 for score, label in pairs if not label and score >= threshold),
        )
        for threshold in sorted({score for score, _ in pairs}, reverse=True)
    ]


def slow_roc(scores, labels):
    positives, negatives = int(labels.sum()), int((~labels).sum())
    return [(Fraction(0), Fraction(0))] + [
        (Fraction(fp, negatives), Fraction(tp, positives))
        for _, tp, fp in slow_counts(scores, labels)
    ]


def slow_regions(mask):
    todo = {(int(i), int(j)) for i, j in np.argwhere(mask)}
    regions = []
    while todo:
        front, region = [todo.pop()], []
        while front:
            i, j = front.pop()
            region.append((i, j))
            for neighbour in [(i + a, j + b) for a in (-1, 0, 1) for b in (-1, 0, 1)]:
                if neighbour in todo:
                    todo.remove(neighbour)
                    front.append(neighbour)
        regions.append(region)
    return regions


def slow_pro(maps, masks):
    normal = [v for m, k in zip(maps, masks, strict=True) for v in m[~k].tolist()]
    regions = [
        [float(m[p]) for p in region]
        for m, k in zip(maps, masks, strict=True)
        for region in slow_regions(k)
    ]
    points = [(Fraction(0), Fraction(0))]
    for threshold in sorted({v for m in maps for v in m.ravel().tolist()}, reverse=True):
        found = [Fraction(sum(v >= threshold for v in r), len(r)) for r in regions]
        false = Fraction(sum(v >= threshold for v in normal), len(normal))
        points.append((false, sum(found, Fraction(0)) / len(regions)))
    return points


def slow_area(points, end):
    area = Fraction(0)
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= end or x0 == x1:
            continue
        stop = min(x1, end)
        y_stop = y0 + (y1 - y0) * (stop - x0) / (x1 - x0)
        area += (stop - x0) * (y0 + y_stop) / 2
    return float(area / end)


def slow_average_precision(scores, labels):
    total, found_before = Fraction(0), 0
    for _, tp, fp in slow_counts(scores, labels):
        total += Fraction(tp - found_before, int(labels.sum())) * Fraction(tp, tp + fp)
        found_before = tp
    return float(total)


def slow_f1_max(scores, labels):
    best = Fraction(-1), None
    for threshold, tp, fp in slow_counts(scores, labels):
        f1 = Fraction(2 * tp, 2 * tp + fp + int(labels.sum()) - tp)
        if f1 > best[0]:
            best = f1, threshold
    return float(best[0]), best[1]
