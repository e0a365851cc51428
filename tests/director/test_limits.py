"""What a user may limit by environment variables."""

from __future__ import annotations

import pytest

from stepup_nb.core.errors import UsageError
from stepup_nb.director.limits import Limits, limits_from


def test_without_variables_the_usual_limits_hold():
    assert limits_from({"STEPUP_NB_WORKERS": "3", "STEPUP_NB_GRACE": ""}) == Limits()


def test_each_limit_comes_from_the_variable_of_its_name():
    environment = {
        "STEPUP_NB_LOG_CAP": "1000",
        "STEPUP_NB_GRACE": "0.5",
        "STEPUP_NB_HISTORY": "3",
        "STEPUP_NB_HASH_THREADS": "4",
        "STEPUP_NB_WARM": "0",
    }
    assert limits_from(environment) == Limits(log_cap=1000, grace=0.5, history=3, hash_threads=4, warm=0)


@pytest.mark.parametrize(
    ("name", "words", "why"),
    [
        ("LOG_CAP", "lots", "a whole number of at least 0"),
        ("LOG_CAP", "1.5", "a whole number of at least 0"),
        ("GRACE", "-1", "a number of at least 0"),
        ("GRACE", "nan", "a number of at least 0"),
        ("HISTORY", "0", "a whole number of at least 1"),
        ("HASH_THREADS", "1" * 30, "a whole number of at least 1"),
        ("WARM", "yes", "0 or 1"),
        ("WARM", "2", "0 or 1"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_with_the_one_that_holds_without_it(name, words, why):
    with pytest.raises(UsageError) as caught:
        limits_from({f"STEPUP_NB_{name}": words})
    error = caught.value
    assert error.code == "SNB-109"
    assert f"STEPUP_NB_{name}" in error.what
    assert why in error.why
    assert f"STEPUP_NB_{name}=" in error.fix
