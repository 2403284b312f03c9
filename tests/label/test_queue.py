"""Which picture label.py asks for next, and of whom."""

import pytest

from labelling.page.queue import CLAIM_SECONDS, Asked, Queue, Status

NAMES = [f"{n}.png" for n in range(40)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def label_next(queue: Queue, tab: str = "a") -> Asked:
    (asked,) = queue.hand_out(tab, 1)
    queue.settle(asked.row, Status.LABELLED, drawn=asked.why == "random")
    return asked


def test_every_share_th_picture_is_random_and_the_others_are_the_most_wanted() -> None:
    queue = Queue(NAMES, seed=0, share=4)
    queue.ranking, queue.by = list(range(39, -1, -1)), "entropy"
    asked = [label_next(queue) for _ in range(12)]
    assert [one.why == "random" for one in asked] == [True, False, False, False] * 3
    chosen = [one.row for one in asked if one.why == "entropy"]
    drawn = {one.row for one in asked if one.why == "random"}
    assert chosen == [row for row in range(39, -1, -1) if row not in drawn][: len(chosen)]


def test_fair_sample_is_the_beginning_of_the_random_order_however_it_was_labelled() -> None:
    queue = Queue(NAMES, seed=0, share=2)
    queue.ranking, queue.by = queue.order[1:], "entropy"  # wants just what is to be drawn
    for _ in range(11):
        label_next(queue)
    assert queue.fair_rows == queue.order[:11]


def test_random_order_depends_on_names_and_seed_and_not_on_what_else_is_there() -> None:
    few, all_of_them = Queue(NAMES[::2], 3, 5), Queue(NAMES, 3, 5)
    order = [NAMES[row] for row in all_of_them.order]
    assert [NAMES[::2][row] for row in few.order] == [n for n in order if n in NAMES[::2]]
    assert Queue(NAMES, 4, 5).order != all_of_them.order


def test_two_tabs_are_never_handed_the_same_until_a_claim_ends() -> None:
    clock = Clock()
    queue = Queue(NAMES, 0, 5, clock)
    first = [one.row for one in queue.hand_out("a", 25)]
    second = [one.row for one in queue.hand_out("b", 25)]
    assert sorted(first + second) == list(range(40))
    clock.now = CLAIM_SECONDS - 1
    queue.claim("b", second)
    clock.now += 2
    assert sorted(one.row for one in queue.hand_out("c", 40)) == sorted(first)


def test_release_frees_what_a_tab_holds() -> None:
    queue = Queue(NAMES, 0, 5)
    queue.hand_out("a", 40)
    assert queue.hand_out("b", 1) == []
    queue.release("a")
    assert len(queue.hand_out("b", 40)) == 40


def test_unsure_pictures_come_once_no_other_is_left() -> None:
    queue = Queue(NAMES[:3], 0, 1)
    queue.settle(queue.hand_out("a", 1)[0].row, Status.UNSURE, drawn=True)
    whys = [label_next(queue).why for _ in range(3)]
    assert whys == ["random", "random", "unsure before"]
    assert queue.hand_out("a", 1) == []
    assert queue.fair_rows == queue.order[:3]


@pytest.mark.parametrize("status", [Status.LABELLED, Status.OPEN])
def test_one_of_a_group_of_near_duplicates_is_asked_for(status: Status) -> None:
    queue = Queue(NAMES[:5], 0, 100)
    queue.hand_out("a", 1)
    free = [row for row in range(5) if queue.is_free(row)]
    queue.ranking, queue.by = free, "entropy"
    queue.groups = dict.fromkeys(free[:2], free[:2])
    if status is Status.LABELLED:
        label_next(queue)
    else:
        queue.hand_out("a", 1)
    assert [one.row for one in queue.hand_out("a", 2)] == free[2:]
    assert queue.hand_out("a", 1) == [Asked(free[1], "random")]  # the last, once others are done
