"""Metrics: named, explained and labelled by the rules, and counted as the functions say."""

import re
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tallypost_telemetry import breaker_states, metrics

BOUNDED_LABELS = {
    "breaker",
    "bulkhead",
    "cause",
    "egress",
    "flight",
    "lane",
    "method",
    "mode",
    "operation",
    "outcome",
    "provider",
    "result",
    "route",
    "source",
    "state",
    "status_class",
    "subscriber",
}
PAGE = Path(__file__).parents[3] / "docs/telemetry.md"
UNITS = ("_seconds", "_emails", "_bytes", "_circuits", "_subscribers", "_events")


class SampleBreaker:
    """A breaker with one open circuit."""

    name = "sample"

    def count_states(self) -> dict[str, int]:
        """One of two circuits is open."""
        return {"closed": 1, "open": 1, "half_open": 0}


SAMPLE_BREAKER = SampleBreaker()


def own_families() -> list[Metric]:
    return [family for family in metrics.REGISTRY.collect() if family.name.startswith("tallypost_")]


def value_of(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0.0


@pytest.fixture(autouse=True)
def _every_metric_has_a_sample() -> None:
    """A metric with labels shows none of them before its first use."""
    metrics.record_http_request("GET", "/sample", 200, 0.01)
    metrics.record_accepted("live", "transactional")
    metrics.record_handover("smtp", ["accepted"], 0.1)
    metrics.record_flush(12, 0.004)
    metrics.record_claim(3, 0.002)
    metrics.record_sweep(0)
    metrics.record_queue_depth("bulk", 7, 1.5)
    metrics.record_dead_letter("attempts_used_up")
    metrics.record_retry("sample")
    metrics.record_deadline_exceeded()
    metrics.record_breaker_change("sample", "open")
    metrics.record_limiter_takes("cluster", 3)
    metrics.record_bulkhead_entry("sample", "entered")
    metrics.record_single_flight("sample", "ran")
    metrics.record_egress("sample", "2xx", 0.1)
    metrics.record_provider_busy("smtp")
    metrics.record_failover("smtp")
    metrics.record_look_up("sendgrid", "found")
    metrics.record_subscriber_event("sample", "handled")
    metrics.record_subscriber_hanging("sample", False)
    metrics.record_subscriber_backlog("sample", 7, 1)
    metrics.record_span()
    metrics.record_span_export("sent", 1)
    breaker_states.watch(SAMPLE_BREAKER)


def test_every_metric_says_in_a_sentence_what_it_counts() -> None:
    for family in own_families():
        assert family.samples, f"{family.name} has no sample here"
        assert family.documentation[0].isupper(), family.name
        assert family.documentation.endswith("."), family.name


def test_counters_end_in_total_and_histograms_in_their_unit() -> None:
    for family in own_families():
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        else:
            assert family.type in {"gauge", "histogram"}
            assert family.name.endswith(UNITS), family.name


def test_labels_are_only_those_whose_values_are_bounded() -> None:
    labels = {
        label for family in own_families() for sample in family.samples for label in sample.labels
    }
    assert labels - {"le"} == BOUNDED_LABELS


def test_the_page_on_telemetry_lists_every_metric_with_its_labels() -> None:
    listed = {
        found[1]: set(re.findall(r"`(\w+)`", found[2]))
        for found in re.finditer(r"^\| `(tallypost_\w+)` \|([^|]*)\|", PAGE.read_text(), re.M)
    }
    metrics_now = {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels
        }
        - {"le"}
        for family in own_families()
    }
    assert listed == metrics_now


def test_names_are_unique_and_there_is_no_series_of_birth_times() -> None:
    text = metrics.render().decode()
    assert "_created" not in text
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names))


def test_text_parses_back_and_tells_about_the_process() -> None:
    families = {
        family.name: family for family in text_string_to_metric_families(metrics.render().decode())
    }
    assert families["tallypost_emails_accepted"].type == "counter"
    assert families["process_cpu_seconds"].type == "counter"


def test_request_counts_by_method_template_and_class() -> None:
    labels = {"method": "POST", "route": "/emails", "status_class": "4xx"}
    before = value_of("tallypost_http_request_duration_seconds_count", **labels)
    metrics.record_http_request("POST", "/emails", 422, 0.5)
    metrics.record_http_request("POST", "/emails", 429, 0.5)
    assert value_of("tallypost_http_request_duration_seconds_count", **labels) == before + 2


def test_invented_methods_share_one_label() -> None:
    for number in range(50):
        metrics.record_http_request(f"METHOD{number}", "/emails", 405, 0.1)
    methods = {
        sample.labels["method"]
        for family in own_families()
        if family.name == "tallypost_http_request_duration_seconds"
        for sample in family.samples
    }
    assert not any(method.startswith("METHOD") for method in methods)
    assert "OTHER" in methods


def test_handover_counts_each_recipient_and_one_duration() -> None:
    duration = "tallypost_attempt_duration_seconds_count"
    outcomes = "tallypost_handovers_total"
    before = (
        value_of(duration, provider="ses"),
        value_of(outcomes, provider="ses", outcome="accepted"),
        value_of(outcomes, provider="ses", outcome="rejected"),
    )
    metrics.record_handover("ses", ["accepted", "rejected", "accepted"], 0.2)
    assert (
        value_of(duration, provider="ses"),
        value_of(outcomes, provider="ses", outcome="accepted"),
        value_of(outcomes, provider="ses", outcome="rejected"),
    ) == (before[0] + 1, before[1] + 2, before[2] + 1)


def test_claims_sweeps_and_dead_letters_count() -> None:
    names = (
        "tallypost_claim_size_emails_sum",
        "tallypost_claim_duration_seconds_count",
        "tallypost_queue_sweeps_total",
        "tallypost_queue_rows_freed_total",
    )
    before = [value_of(name) for name in names]
    letters = value_of("tallypost_dead_letters_total", cause="internal_error")
    accepted = value_of("tallypost_emails_accepted_total", mode="test", lane="bulk")
    metrics.record_claim(20, 0.01)
    metrics.record_sweep(5)
    metrics.record_dead_letter("internal_error", 3)
    metrics.record_accepted("test", "bulk", 7)
    assert [value_of(name) - old for name, old in zip(names, before, strict=True)] == [20, 1, 1, 5]
    assert value_of("tallypost_dead_letters_total", cause="internal_error") == letters + 3
    assert value_of("tallypost_emails_accepted_total", mode="test", lane="bulk") == accepted + 7
