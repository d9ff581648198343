"""The judge of the experiments sees what it is there to see."""

from collections.abc import Callable
from uuid import UUID

import pytest

from tests.faults.experiments.rates import jain_index, percentile, rate_between
from tests.faults.plans import GONE, STREAMS, Plan
from tests.faults.runs import Bound
from tests.faults.verdicts import Records, Sent, Verdict, judge
from tests.support.counting_sink import Copies, merge
from tests.support.database import SeededTenant

_COUNT = 8
_NOBODY = UUID(int=999)


class Story:
    """An experiment in which everything went well; a test changes what it is about."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.answers = {number: {_id(number)} for number in range(plan.count)}
        self.emails = {_id(number) for number in range(plan.count)}
        self.statuses = {key: "sent" for number in range(plan.count) for key in self.keys(number)}
        self.copies = dict.fromkeys(self.statuses, 1)
        self.listed: set[UUID] = set()
        self.units = len(self.statuses)

    def keys(self, number: int) -> list[tuple[UUID, str]]:
        """The recipients of a send, as they are on record."""
        return [(_id(number), address) for address in self.plan.recipients(number)]

    def judged(self) -> Verdict:
        """What the judge makes of it."""
        return judge(
            [Sent(self.plan, self.answers)],
            Records(
                emails=self.emails, statuses=self.statuses, listed=self.listed, units=self.units
            ),
            {
                (str(id_), address): Copies(count, 0.0)
                for (id_, address), count in self.copies.items()
                if count
            },
        )


@pytest.fixture
def tenant() -> SeededTenant:
    """A tenant that is never asked for anything but its name."""
    return SeededTenant(
        id=UUID(int=1),
        domain="example.com",
        domain_id=UUID(int=2),
        live_key=None,  # type: ignore[arg-type]
        test_key=None,  # type: ignore[arg-type]
        sending_key=None,  # type: ignore[arg-type]
    )


@pytest.fixture
def plan(tenant: SeededTenant) -> Plan:
    """A few sends on both streams, some of them to somebody who is gone."""
    return Plan(name="mail", tenant=tenant, count=_COUNT, gone_every=4)


@pytest.fixture
def story(plan: Plan) -> Story:
    """All went well: who is gone bounced, all others have one copy."""
    story = Story(plan)
    for key in story.statuses:
        if key[1].startswith(GONE):
            story.statuses[key] = "bounced"
            story.copies[key] = 0
            story.units -= 1
    return story


def _id(number: int) -> UUID:
    return UUID(int=1000 + number)


def _lose_a_copy(story: Story) -> None:
    story.copies[story.keys(1)[0]] = 0


def _leave_one_queued(story: Story) -> None:
    story.statuses[story.keys(1)[0]] = "queued"
    story.units -= 1


def _forget_a_recipient(story: Story) -> None:
    del story.statuses[story.keys(1)[0]]
    story.units -= 1


def _give_up_on_one(story: Story) -> None:
    story.statuses[story.keys(1)[0]] = "failed"
    story.units -= 1


def _bounce_one_that_nobody_refused(story: Story) -> None:
    story.statuses[story.keys(1)[0]] = "bounced"
    story.units -= 1


def _deliver_to_one_who_is_gone(story: Story) -> None:
    story.statuses[story.keys(0)[0]] = "sent"
    story.copies[story.keys(0)[0]] = 1
    story.units += 1


def _send_one_twice(story: Story) -> None:
    story.copies[story.keys(2)[0]] = 2


def _send_a_held_one_twice(story: Story) -> None:
    story.copies[story.keys(1)[0]] = 2
    story.listed.add(_id(1))


def _send_what_nobody_asked_for(story: Story) -> None:
    story.copies[_NOBODY, "somebody@recipient.test"] = 1


def _acknowledge_nothing(story: Story) -> None:
    story.answers[1] = {_NOBODY}


def _give_a_second_id(story: Story) -> None:
    story.answers[1].add(_id(2))


def _store_one_that_no_answer_names(story: Story) -> None:
    story.emails.add(_NOBODY)


def _bill_twice(story: Story) -> None:
    story.units += 1


def test_a_story_without_a_fault_breaks_no_promise(story: Story) -> None:
    verdict = story.judged()
    assert verdict.broken_promises() == {}
    assert verdict.line("all-well", 1.25) == (
        "faults: all-well n=8 lost=0 duplicated=0 unlisted=0 unconfirmed=0 recovery_s=1.2"
    )


@pytest.mark.parametrize(
    ("change", "promise"),
    [
        (_lose_a_copy, "lost"),
        (_leave_one_queued, "lost"),
        (_forget_a_recipient, "lost"),
        (_give_up_on_one, "unended"),
        (_bounce_one_that_nobody_refused, "wrongly_bounced"),
        (_deliver_to_one_who_is_gone, "unbounced"),
        (_send_one_twice, "unlisted"),
        (_send_a_held_one_twice, "resent_though_held"),
        (_send_what_nobody_asked_for, "unlisted"),
        (_acknowledge_nothing, "false_acknowledgements"),
        (_give_a_second_id, "second_ids"),
        (_store_one_that_no_answer_names, "second_ids"),
        (_bill_twice, "unmetered"),
    ],
)
def test_a_broken_promise_is_seen(
    story: Story, change: Callable[[Story], None], promise: str
) -> None:
    change(story)
    assert story.judged().broken_promises().get(promise, 0) > 0


def test_a_listed_duplicate_is_counted_and_breaks_no_promise(story: Story) -> None:
    story.copies[story.keys(2)[0]] = 3
    story.listed.add(_id(2))
    verdict = story.judged()
    assert (verdict.duplicated, verdict.unconfirmed, verdict.broken_promises()) == (2, 1, {})


def test_one_that_is_parked_as_unconfirmed_is_not_lost(story: Story) -> None:
    key = story.keys(1)[0]
    story.statuses[key], story.copies[key] = "unconfirmed", 0
    story.units -= 1
    story.listed.add(_id(1))
    assert story.judged().broken_promises() == {}


def test_an_email_that_was_refused_as_a_whole_has_to_bounce(story: Story) -> None:
    refused = {_id(1)}
    assert story.judged().broken_promises(refused_emails=refused) == {"wrongly_bounced": 1}
    _bounce_one_that_nobody_refused(story)
    assert story.judged().broken_promises(refused_emails=refused) == {}
    # Another one that was refused is no excuse for it.
    assert story.judged().broken_promises(refused_emails={_id(2)}) == {"wrongly_bounced": 2}


def test_both_streams_have_sends_of_every_size(tenant: SeededTenant) -> None:
    plan = Plan(name="mail", tenant=tenant, count=60)
    sizes = {(plan.stream(number), len(plan.recipients(number))) for number in range(plan.count)}
    assert sizes == {(stream, size) for stream in STREAMS for size in (1, 2, 3)}


def test_a_bound_is_broken_on_one_side_only() -> None:
    kept = [
        Bound("x", measured, 0.5, is_at_most).is_kept
        for measured in (0.4, 0.5, 0.6)
        for is_at_most in (True, False)
    ]
    assert kept == [True, False, True, True, False, True]


def test_copies_that_came_to_several_far_ends_are_counted_together() -> None:
    one = {("id", "a"): Copies(1, 3.0), ("id", "b"): Copies(2, 1.0)}
    other = {("id", "a"): Copies(1, 2.0)}
    assert merge([one, other]) == {("id", "a"): Copies(2, 2.0), ("id", "b"): Copies(2, 1.0)}


def test_rates_and_shares_are_computed_as_they_are_defined() -> None:
    assert rate_between([0.0, 1.0, 1.5, 2.0, 9.0], 1.0, 3.0) == 1.5
    assert [percentile(range(1, 101), percent) for percent in (50, 95, 100)] == [50, 95, 100]
    assert jain_index([1.0] * 50) == pytest.approx(1.0)
    assert jain_index([1.0, *[0.0] * 49]) == pytest.approx(1 / 50)
