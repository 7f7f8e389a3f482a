"""Model: rate, errors and duration of its calls, what it answers, its versions side by side, and its server."""

from __future__ import annotations

from grafana.boards.board import Board
from grafana.boards.panels import Panel, Query, ask, bars, buckets, course, now, number, rows, sheet
from grafana.boards.promql import RANGE, WINDOW, events, increase, mean, most, of, quantile, rate, share, total

_MODEL = ("model", "model_version")
_NAME = "{{model}} {{model_version}}"
_DURATION = "request_duration_seconds"
_COUNT = of(_DURATION, part="count")
_NO_CALLS = "no calls"
_NO_TOKENS = "no generated text"
_NO_SERVER = "no server is scraped"


def board() -> Board:
    """The dashboard."""
    made = Board("model", "Model", "How much is it asked, how does it answer, how fast, and do its versions differ?")
    made.row("Rate, errors, duration", *_red())
    made.row("Predictions", *_predictions())
    made.row("Versions side by side", *_versions())
    made.row("Server and probes", *_probes())
    made.closed("Language model", *_language())
    made.closed("The server's own numbers", *_server())
    return made


def _of_outcome(outcome: str) -> str:
    return of(_DURATION, f'outcome="{outcome}"', part="count")


def _three(name: str, low: float = 0.5, middle: float = 0.9, high: float = 0.99) -> list[Query]:
    return [ask(quantile(q, name, *_MODEL), f"{_NAME} {q:g}") for q in (low, middle, high)]


def _red() -> list[Panel]:
    whole = total(rate(_COUNT), *_MODEL)
    errors = [
        ask(share(total(rate(_of_outcome(o)), *_MODEL), whole), f"{_NAME} {words}")
        for o, words in (("server_error", "server"), ("client_error", "client"), ("aborted", "aborted"))
    ]
    return [
        course(
            "Calls a second",
            "Finished calls by operation. A fall while calls in flight grow: the model hangs.",
            ask(total(rate(_COUNT), *_MODEL, "operation"), _NAME + " {{operation}}"),
            unit="reqps",
            w=8,
            empty=_NO_CALLS,
        ),
        course(
            "Share of errors",
            "server: read its log, the line is the alert's limit; client: somebody sends what the "
            "model cannot take; aborted: callers gave up waiting or the connection broke.",
            *errors,
            unit="percentunit",
            steps=((None, "green"), (0.05, "red")),
            w=8,
            empty=_NO_CALLS,
        ),
        course(
            "Calls in flight",
            "Calls without a complete answer. Growing at an even rate of calls: the model is at its "
            "limit, add replicas or shed load.",
            ask(total(of("requests_in_flight"), "target"), "{{target}}"),
            w=8,
            empty=_NO_CALLS,
        ),
        course(
            "Duration",
            "From the first byte of a call to the last byte of its answer. Only 0.99 rises: waiting or "
            "large inputs; all rise: the model or its CPU is slower.",
            *_three(_DURATION),
            unit="s",
            steps=((None, "green"), (1, "red")),
            empty=_NO_CALLS,
        ),
        buckets(
            "How durations are spread",
            "Calls by duration. Two bands: two kinds of calls, or some wait. Choose one model above.",
            total(increase(of(_DURATION, part="bucket"), WINDOW), "le"),
            "s",
            empty=_NO_CALLS,
        ),
        course(
            "Codes",
            "Calls by protocol and status code; none: a call inside the process, or one without an answer. "
            "A new code after a deploy is its first symptom.",
            ask(total(rate(of("requests_total")), "protocol", "code"), "{{protocol}} {{code}}"),
            unit="reqps",
            stacked=True,
            empty=_NO_CALLS,
        ),
        course(
            "Bytes a call",
            "Mean size of a call and of its answer. Durations that follow it come from the inputs, not from the model.",
            *_sizes(),
            unit="bytes",
            empty=_NO_CALLS,
        ),
    ]


def _sizes() -> list[Query]:
    calls = total(rate(of("requests_total")), *_MODEL)
    names = (("request_bytes_total", "asked"), ("response_bytes_total", "answered"))
    return [ask(f"{total(rate(of(n)), *_MODEL)} / ({calls} > 0)", f"{_NAME} {words}") for n, words in names]


def _predictions() -> list[Panel]:
    scores, values = "prediction_score", "prediction_value"
    missing = total(rate(of("feature_missing_total")), *_MODEL)
    return [
        course(
            "Predictions by class",
            "Predictions a second. A class that takes over, or vanishes, while the callers "
            "stay the same: compare with Drift.",
            ask(total(rate(of("predictions_total")), "model", "class"), "{{model}} {{class}}"),
            unit="cps",
            stacked=True,
            empty="no predictions",
        ),
        course(
            "Mean score",
            "Mean of the largest class probability. A falling score often comes before falling "
            "accuracy: label a sample of the least sure answers.",
            ask(mean(scores, *_MODEL), _NAME),
            unit="percentunit",
            w=6,
            low=None,
            empty="no scores",
        ),
        course(
            "Missing features",
            "Missing values a second, over all features of a model; Drift says in which. Rising: a source is broken.",
            ask(missing, _NAME),
            unit="cps",
            w=6,
            empty="no features",
        ),
        buckets(
            "How scores are spread",
            "Predictions by score. Mass that moves down from the top: the model becomes unsure.",
            total(increase(of(scores, part="bucket"), WINDOW), "le"),
            "percentunit",
            w=8,
            empty="no scores",
        ),
        buckets(
            "How predicted values are spread",
            "Predicted values by quantiles of the reference. Choose one model: each has its own edges.",
            total(increase(of(values, part="bucket"), WINDOW), "le"),
            "short",
            w=8,
            empty="no values",
        ),
        course(
            "Predicted values",
            "Quantiles of the predicted values. They move and the inputs do not: the model was "
            "changed; both move: look upstream.",
            *_three(values, 0.1, 0.5, 0.9),
            w=8,
            low=None,
            empty="no values",
        ),
    ]


def _versions() -> list[Panel]:
    whole = total(rate(_COUNT, RANGE), *_MODEL)
    failed = share(total(rate(_of_outcome("server_error"), RANGE), *_MODEL), whole)
    calls = events(_COUNT, *_MODEL)
    return [
        sheet(
            "Versions",
            "Each version over the whole shown time. Choose the time in which both ran; a version that is "
            "worse in one column only may have had other calls.",
            ("Calls/s", "reqps", rows(whole)),
            ("Server errors", "percentunit", rows(failed)),
            ("Median", "s", rows(quantile(0.5, _DURATION, *_MODEL, window=RANGE))),
            ("Slowest in 100", "s", rows(quantile(0.99, _DURATION, *_MODEL, window=RANGE))),
            ("Mean score", "percentunit", rows(mean("prediction_score", *_MODEL, window=RANGE))),
            ("Largest evidence", "short", rows(most(of("drift_evidence_ratio"), *_MODEL))),
            w=16,
            h=7,
            order=_MODEL,
            empty=_NO_CALLS,
        ),
        bars(
            "Calls in the shown time",
            "How the calls were shared between versions. Not as you set the split: look at the router.",
            now(calls, _NAME),
            w=8,
            h=7,
            empty=_NO_CALLS,
        ),
    ]


def _probes() -> list[Panel]:
    state = ("instance", "target", "model", "model_version", "state")
    return [
        number(
            "Probes",
            "readiness: the server says that it is ready; canary: it gave the expected answer. Failed: "
            "the agent's log has the server's words.",
            now(f"min by (probe) ({of('probe_success')})", "{{probe}}"),
            steps=((None, "red"), (1, "green")),
            words={"0": "fails", "1": "passes"},
            w=6,
            h=7,
            empty="no probe is set",
        ),
        course(
            "Duration of probes",
            "Of the last probe, to the answer's end. It rises with the calls' duration: the "
            "server is slow for all. Alone: see what the probe asks for.",
            ask(most(of("probe_duration_seconds"), "instance", "probe"), "{{instance}} {{probe}}"),
            unit="s",
            w=9,
            h=7,
            empty="no probe is set",
        ),
        sheet(
            "What the server says of its models",
            "Not ready for long: see the server's log; unknown: it did not say.",
            ("", "short", rows(f"{most(of('server_model_state'), *state)} == 1")),
            w=9,
            h=7,
            order=("model", "model_version", "state", "target", "instance"),
            empty="no probe is set",
        ),
    ]


def _tokens(name: str) -> str:
    return total(rate(of(name)), *_MODEL)


def _language() -> list[Panel]:
    asked = _tokens("input_tokens_total")
    answers = total(rate(of("generations_total")), *_MODEL)
    per_answer = f"{_tokens('output_tokens_total')} / ({answers} > 0)"
    return [
        course(
            "Tokens a second",
            "Of prompts and of answers. Output is what costs time; input that grows makes the first token late.",
            ask(asked, f"{_NAME} input"),
            ask(_tokens("output_tokens_total"), f"{_NAME} output"),
            ask(_tokens("reasoning_output_tokens_total"), f"{_NAME} reasoning"),
            unit="cps",
            w=8,
            empty=_NO_TOKENS,
        ),
        course(
            "Why answers ended",
            "Answers a second by reason. length: cut off; raise the limit or shorten the prompt.",
            ask(total(rate(of("generations_total")), "model", "finish_reason"), "{{model}} {{finish_reason}}"),
            unit="cps",
            stacked=True,
            w=8,
            empty=_NO_TOKENS,
        ),
        course(
            "Tokens an answer",
            "Mean length of an answer. Longer answers at the same speed explain longer calls.",
            ask(per_answer, _NAME),
            w=8,
            empty=_NO_TOKENS,
        ),
        course(
            "Time to the first token",
            "What a reader waits for. It rises with the server's queue (add replicas) or with longer prompts.",
            *_three("time_to_first_token_seconds"),
            unit="s",
            w=12,
            empty=_NO_TOKENS,
        ),
        buckets(
            "How times to the first token are spread",
            "Two bands: some prompts are found in the cache, or wait.",
            total(increase(of("time_to_first_token_seconds", part="bucket"), WINDOW), "le"),
            "s",
            w=12,
            empty=_NO_TOKENS,
        ),
        course(
            "Time an output token",
            "Mean time a token after the first. It rises when batches grow; above .1 s readers overtake the model.",
            *_three("time_per_output_token_seconds"),
            unit="s",
            w=8,
            empty=_NO_TOKENS,
        ),
        course(
            "Between two parts of an answer",
            "Pauses in a streamed answer. Only 0.99 rises: other prompts are "
            "computed in between, or requests are preempted.",
            *_three("inter_chunk_duration_seconds"),
            unit="s",
            w=8,
            empty=_NO_TOKENS,
        ),
        course(
            "Prompt tokens from the cache",
            "Share of the prompts that was not computed again. Low with prompts that "
            "begin alike: requests go to replicas that have not seen them.",
            ask(share(_tokens("cached_input_tokens_total"), asked), _NAME),
            unit="percentunit",
            w=8,
            empty=_NO_TOKENS,
        ),
    ]


def _server() -> list[Panel]:
    one = ("target", "server", *_MODEL)
    name = "{{target}} {{server}} {{model}}"
    hits, looked = (total(rate(of(f"server_prefix_cache_{n}_total")), *one) for n in ("hits", "queries"))
    cached, asked = (total(rate(of(f"server_{n}input_tokens_total")), *one) for n in ("cached_", ""))
    out = total(rate(of("server_output_tokens_total")), *one)
    return [
        course(
            "Queue",
            "Requests in the server's own queue, and those it works on. Waiting grows while running stands "
            "still: it is full, add replicas.",
            ask(total(of("server_requests_waiting"), *one), f"{name} waiting"),
            ask(total(of("server_requests_running"), *one), f"{name} running"),
            w=8,
            empty=_NO_SERVER,
        ),
        course(
            "Cache",
            "Key-value cache in use, prefix cache hits, prompt tokens from the cache. In use near 1: requests "
            "wait or are preempted; give it more memory or shorter contexts.",
            ask(most(of("server_kv_cache_usage_ratio"), *one), f"{name} in use"),
            ask(f"{hits} / ({looked} > 0)", f"{name} prefix hits"),
            ask(f"{cached} / ({asked} > 0)", f"{name} cached prompt tokens"),
            unit="percentunit",
            steps=((None, "green"), (0.95, "red")),
            w=8,
            empty=_NO_SERVER,
        ),
        course(
            "Batches and preemptions",
            "Requests in one batch: 1 means no batching. Preemptions a second: requests "
            "started again for want of cache; each costs its caller time.",
            ask(most(of("server_batch_size"), *one), f"{name} batch"),
            ask(total(rate(of("server_preemptions_total")), *one), f"{name} preemptions/s"),
            w=8,
            empty=_NO_SERVER,
        ),
        course(
            "Slowest in 100, inside and outside",
            "What the server measures beside what is seen from outside. Outside "
            "longer: the time is lost before the server; queue longer: in it.",
            ask(quantile(0.99, _DURATION, "target"), "{{target}} outside"),
            ask(quantile(0.99, "server_request_duration_seconds", *one), f"{name} server"),
            ask(quantile(0.99, "server_queue_duration_seconds", *one), f"{name} queue"),
            unit="s",
            empty=_NO_SERVER,
        ),
        course(
            "Tokens and requests, counted by the server",
            "Beside Tokens a second and Calls a second of this page: "
            "less there means that part of the traffic is not seen.",
            ask(asked, f"{name} input tokens"),
            ask(out, f"{name} output tokens"),
            ask(total(rate(of("server_requests_total")), *one, "outcome"), f"{name} requests, {{{{outcome}}}}"),
            unit="cps",
            empty=_NO_SERVER,
        ),
    ]
