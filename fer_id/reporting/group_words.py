"""Sentences on subgroups: gaps shown, gaps not shown, and too little evidence."""

from fer_id.evaluation.groups.gaps import GAP, NO_GAP, TESTED, TOO_LITTLE
from fer_id.reporting.benchmark.verdicts import p_words
from fer_id.runs.metrics import Column, Gap, Subgroups

SCORES = {"accuracy": "accuracy", "macro_recall": "macro recall", "macro_f1": "macro-F1"}

_ORDER = (GAP, NO_GAP, TOO_LITTLE)


def gap_sentences(subgroups: Subgroups | None) -> list[str]:
    """Return a sentence per column with the clearest of its verdicts and its score; none without groups."""
    return [f"{name}: {verdict_words(column)}." for name, column in (subgroups.columns if subgroups else {}).items()]


def verdict_words(column: Column) -> str:
    """Return a verdict such as ``gap: severe 22.1 points below mild in accuracy (p = .008)``."""
    score = min(TESTED, key=lambda name: _ORDER.index(column.gaps[name].verdict))  # accuracy where they agree
    return gap_words(column.gaps[score], score)


def gap_words(gap: Gap, score: str) -> str:
    """Return the verdict on one score, with the numbers behind it."""
    if gap.verdict == TOO_LITTLE:
        return f"{TOO_LITTLE} ({gap.reason})"
    p = p_words(gap.p_holm)
    if gap.verdict == GAP:
        return f"gap: {gap.worst} {points(gap.gap)} below {gap.best} in {SCORES[score]} ({p})"
    return f"{NO_GAP} in {SCORES[score]} ({points(gap.gap)}, {p})"


def points(share: float | None) -> str:
    """Format ``0.221`` as ``22.1 points``."""
    return "no points" if share is None else f"{100 * share:.1f} points"


def small_groups(subgroups: Subgroups) -> str:
    """Return a sentence on the groups with too few subjects to enter a gap; empty where there is none."""
    least = subgroups.min_subjects
    small = [
        f"{value} ({group.n_subjects})"
        for column in subgroups.columns.values()
        for value, group in column.groups.items()
        if len(column.of) == 1 and group.n_subjects < least
    ]
    if not small:
        return ""
    return f"Shown, but compared with none, for want of {least} subjects: {', '.join(small)}."
