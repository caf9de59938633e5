"""No step is taken that memory might not bear."""

from hypothesis import given, settings
from hypothesis import strategies as st

from overread.errors import TooLittleMemory
from overread.training.climbing import MARGIN
from overread.training.climbing import climb as climbed

GB = 10**9


class Law:
    """A memory in which everything takes what a law says."""

    def __init__(self, *, base: int, once: int, a_case: int, room: int) -> None:
        self.base, self.once, self.a_case, self.room = base, once, a_case, room
        self.taken: list[int] = []

    def of(self, count: int) -> int:
        return self.base + self.once + self.a_case * count

    def do(self, count: int) -> None:
        self.taken.append(count)

    def restart(self) -> None: ...

    def peak_bytes(self) -> int:
        return self.of(self.taken[-1])

    def used_bytes(self) -> int:
        return self.base + (self.once if self.taken else 0)

    def room_bytes(self) -> int | None:
        return self.room


def climb(law: Law, target: int) -> tuple[int | None, int | None]:
    """The peak, or how many cases fit where so many do not."""
    told: list[int] = []

    def too_many(_target: int, fits: int) -> str:
        told.append(fits)
        return "too many."

    try:
        return climbed(target, law.do, law, too_many), None
    except TooLittleMemory:
        return None, told[0]


laws = st.builds(
    Law,
    base=st.integers(GB // 10, 2 * GB),
    once=st.integers(0, GB),
    a_case=st.integers(0, GB),
    room=st.integers(1, 60 * GB),
)


@settings(max_examples=300, deadline=None)
@given(law=laws, target=st.integers(1, 128))
def test_no_step_is_tried_that_memory_cannot_bear(law: Law, target: int) -> None:
    peak, fits = climb(law, target)
    assert all(law.of(count) <= law.room for count in law.taken[1:])  # of the first, one or two cases, nobody knows
    assert law.taken == sorted(set(law.taken))
    if fits is None:
        assert law.taken[-1] == target
        assert peak == law.of(target)
        assert peak * MARGIN <= law.room * 1.001
    else:
        assert fits < target
        assert fits < 2 or MARGIN * law.of(fits) <= law.room * 1.001


@settings(max_examples=300, deadline=None)
@given(law=laws, target=st.integers(1, 128))
def test_what_fits_with_a_little_to_spare_is_not_refused(law: Law, target: int) -> None:
    law.room = int(1.02 * MARGIN * (law.of(max(target, 3)) + law.once))
    assert climb(law, target) == (law.of(target), None)


def test_where_nobody_says_how_much_there_is_nothing_is_refused() -> None:
    law = Law(base=GB, once=0, a_case=GB, room=0)
    law.room_bytes = lambda: None  # type: ignore[method-assign]
    assert climb(law, 64) == (law.of(64), None)
