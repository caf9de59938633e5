import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overread.provenance import digest_of, environment, file_digest, seed_for

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), json_values, max_size=4))
def test_equal_values_have_equal_digests_whatever_their_order(value: dict[str, object]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


@given(json_values)
def test_a_changed_value_has_another_digest(value: object) -> None:
    assert digest_of(value) != digest_of([value])


def test_a_number_that_is_none_has_no_digest() -> None:
    with pytest.raises(ValueError, match="JSON"):
        digest_of(float("nan"))


def test_a_changed_file_has_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(b"one")
    first = file_digest(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(0, 0))
    assert first == hashlib.sha256(b"one").hexdigest()
    assert file_digest(path) == hashlib.sha256(b"two").hexdigest()


@given(st.integers(0, 2**31 - 1), st.integers(0, 100))
def test_a_seed_is_31_bits_and_always_the_same(seed: int, fold: int) -> None:
    assert seed_for(seed, "fold", fold) == seed_for(seed, "fold", fold)
    assert 0 <= seed_for(seed, "fold", fold) < 2**31
    assert seed_for(seed, "fold", fold) != seed_for(seed, "fold", fold + 1)


def test_the_environment_names_no_machine_user_or_path() -> None:
    found = environment()
    assert {"python", "system", "numpy", "overread"} <= set(found)
    said = " ".join(found.values())
    assert os.uname().nodename not in said
    assert str(Path.home()) not in said
