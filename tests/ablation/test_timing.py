"""The time left is an estimate, a lower bound, or unknown; never a guess."""

from mmr.ablation.timing import RestTime


def test_nothing_is_claimed_before_anything_was_timed() -> None:
    assert RestTime(["text_only", "measure"]).text() == "time left unknown"


def test_kinds_without_a_time_make_it_a_lower_bound_that_names_them() -> None:
    rest = RestTime(["text_only", "text_only", "align_queries"])
    rest.done("text_only", 30.0)

    assert rest.seconds() == (30.0, ["align_queries"])
    assert rest.text() == "more than 30 s left, align_queries not timed yet"


def test_the_estimate_is_the_mean_of_each_kind_times_what_is_left() -> None:
    rest = RestTime(["a"] * 4 + ["b"] * 2)
    rest.done("a", 100.0)
    rest.done("a", 200.0)
    rest.done("b", 60.0)

    assert rest.seconds() == (2 * 150.0 + 60.0, [])
    assert rest.text() == "about 6 min left"


def test_when_all_is_done_nothing_is_left() -> None:
    rest = RestTime(["a"])
    rest.done("a", 5.0)

    assert rest.text() == "nothing left"


def test_long_times_are_told_in_hours() -> None:
    rest = RestTime(["a", "a"])
    rest.done("a", 3 * 3600.0 + 120)

    assert rest.text() == "about 3 h 2 min left"


def test_what_earlier_runs_left_takes_no_time_but_tells_how_long_its_kind_takes() -> None:
    rest = RestTime(["a"], kept=["a", "a"])
    rest.done("a", 60.0, kept=True, reused=True)

    assert rest.text() == "about 60 s left"
    rest.done("a", 60.0)
    assert rest.text() == "nothing left"


def test_one_kept_model_that_could_not_be_reused_makes_all_of_them_due_again() -> None:
    rest = RestTime(["a"], kept=["a", "a", "b"])
    rest.done("a", 60.0, kept=True, reused=False)

    assert rest.seconds() == (2 * 60.0, ["b"])
    rest.done("b", 5.0, kept=True, reused=True)  # a retrained parent's child may be kept after all
    assert rest.seconds() == (2 * 60.0, [])
