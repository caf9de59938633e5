import itertools
import re

import numpy as np
import pytest

from overread.export.content import FrocCurve
from overread.export.figures import froc
from overread.export.marking import font


@pytest.mark.parametrize("least", [2.0**-power for power in (3, 7, 9, 11, 12)])
@pytest.mark.parametrize("most", [8.0, 64.0])
def test_the_words_below_a_froc_curve_do_not_run_into_each_other(least: float, most: float) -> None:
    svg = froc(FrocCurve(None, np.array([0, least, most]), np.array([0.1, 0.3, 0.6]), 10, 20)).decode()
    words = re.findall(r"<!-- (1/\d+|\d+) -->\s*<g [^>]*translate\(([\d.]+) [\d.]+\)", svg)
    assert len(words) > 3
    letters = font(80)
    for (text, left), (_, following) in itertools.pairwise(words):
        assert float(left) + letters.getlength(text) / 10 + 1 < float(following)
