"""LoadGen's early stopping: how many queries make it sure of a percentile of the latency."""

import math

CONFIDENCE = 0.99
"""With which LoadGen wants to know that the true percentile is within the bound (results.cc:157-158)."""


def least_queries(late: int, percentile: float) -> int:
    """Return the least number of queries of which `late` may take longer (early_stopping.cc, odds).

    LoadGen is sure of the percentile where so few late ones would come by chance once in a hundred times at
    most if the share of late ones were 1 - percentile.

    Args:
        late: queries above the latency in question.
        percentile: in per cent, above 0 and below 100.

    Returns:
        Queries in all. For an estimate (SingleStream, MultiStream) the longest one counts as late.
    """
    share = 1 - percentile / 100

    def sure(queries: int) -> bool:
        return _chance_of_at_most(late, queries, share) <= 1 - CONFIDENCE

    low = high = late + 1
    while not sure(high):
        low, high = high, 2 * high
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if sure(middle) else (middle + 1, high)
    return high


def _chance_of_at_most(late: int, queries: int, share: float) -> float:
    """Return the binomial distribution's cumulative probability."""
    logs = [
        math.lgamma(queries + 1)
        - math.lgamma(count + 1)
        - math.lgamma(queries - count + 1)
        + count * math.log(share)
        + (queries - count) * math.log1p(-share)
        for count in range(late + 1)
    ]
    return math.fsum(map(math.exp, logs))
