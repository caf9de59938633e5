import re

from hypothesis import given
from hypothesis import strategies as st

from overread.study import Series, Study, pseudonym

identities = st.text(min_size=4, max_size=30)


@given(identities)
def test_a_pseudonym_is_stable_and_fit_for_a_file_name(identity: str) -> None:
    key = pseudonym(identity)
    assert key == pseudonym(identity)
    assert re.fullmatch(r"P-[0-9a-f]{12}", key)


@given(st.lists(identities, unique=True, max_size=20))
def test_two_people_have_two_pseudonyms(people: list[str]) -> None:
    assert len({pseudonym(person) for person in people}) == len(people)


def test_a_pseudonym_does_not_show_the_name() -> None:
    assert "doe" not in pseudonym("Doe^Jane").lower()


def test_a_study_names_each_of_its_modalities_once() -> None:
    series = tuple(Series(f"S-{number}", modality, ()) for number, modality in enumerate(["US", None, "CT", "US"]))
    assert Study("E-1", "P-1", series).modalities == ("CT", "US")
