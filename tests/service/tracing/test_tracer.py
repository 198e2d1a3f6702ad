"""Which requests are traced, and what is imported for that."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from service.settings import Settings, SettingsError
from service.tracing import tracer
from service.tracing.context import TraceContext, new_trace_id
from service.tracing.exporter import Exporter
from service.tracing.tracer import NO_TRACER, Tracer
from tests.service.tracing.senders import MemorySender
from tools.documents import ROOT

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, NOT_SAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture
def recording():
    """Return a function that makes a tracer that records this share of the requests."""
    return lambda ratio: Tracer(Exporter(MemorySender(), on_lost=lambda _: None), ratio)


def test_without_a_receiver_and_a_header_there_is_no_trace():
    assert NO_TRACER.begin(None) is NO_TRACER.begin("") is None


def test_without_a_receiver_the_clients_trace_is_known_and_not_recorded():
    begun = NO_TRACER.begin(SAMPLED)
    assert (begun.trace_id, begun.parent_id, begun.sampled) == (TRACE, SPAN, False)


def test_without_a_receiver_a_malformed_header_begins_no_trace():
    assert NO_TRACER.begin("nonsense") is None


@pytest.mark.parametrize("ratio", [0, 1])
@pytest.mark.parametrize(("header", "sampled"), [(SAMPLED, True), (NOT_SAMPLED, False)])
def test_the_client_decides_for_its_trace(recording, ratio, header, sampled):
    begun = recording(ratio).begin(header)
    assert (begun.trace_id, begun.parent_id, begun.sampled) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(("ratio", "sampled"), [(0, False), (1, True)])
@pytest.mark.parametrize("header", [None, "", "nonsense"])
def test_the_ratio_decides_for_new_traces(recording, ratio, header, sampled):
    begun = recording(ratio).begin(header)
    assert (begun.parent_id, begun.sampled) == ("", sampled)


@pytest.mark.parametrize("ratio", [0.0, 0.001, 0.25, 0.5, 0.999, 1.0])
def test_opentelemetry_decides_alike_for_the_same_trace_ids(recording, ratio, monkeypatch):
    sampler, own = TraceIdRatioBased(ratio), recording(ratio)
    for trace_id in ["f" * 32, "0" * 31 + "1", *(new_trace_id() for _ in range(200))]:
        monkeypatch.setattr(tracer, "new_trace_id", lambda trace_id=trace_id: trace_id)
        decision = sampler.should_sample(None, int(trace_id, 16), "").decision
        assert own.begin(None).sampled is (decision is Decision.RECORD_AND_SAMPLE)


def test_a_further_request_of_a_call_is_in_the_clients_trace(recording):
    begun = recording(1).begin(SAMPLED)
    again = recording(1).again(begun)
    assert (again.trace_id, again.parent_id) == (TRACE, SPAN)
    assert again.span_id != begun.span_id


def test_a_further_request_of_a_call_without_a_trace_has_a_new_one(recording):
    begun = recording(1).begin(None)
    assert recording(1).again(begun).trace_id != begun.trace_id


def test_a_further_request_without_any_trace_has_none():
    assert NO_TRACER.again(None) is None


IMPORTS = """
import sys
import service.processes.frontend, service.processes.worker, service.cli
from service.settings import Settings
from service.tracing.tracer import NO_TRACER, open_tracer
assert open_tracer(Settings(), process="frontend-0", on_lost=print) is NO_TRACER
sys.exit(any(name.startswith("opentelemetry.sdk") or ".otlp" in name for name in sys.modules))
"""


def test_without_the_setting_no_process_imports_the_sdk():
    subprocess.run([sys.executable, "-c", IMPORTS], check=True, cwd=ROOT, timeout=60)


WITHOUT_EXTRA = """
import sys
for name in ("opentelemetry", "opentelemetry.exporter", "opentelemetry.sdk"):
    sys.modules[name] = None
from service.settings import Settings
from service.tracing import tracer
assert tracer.NO_TRACER.begin(sys.argv[1]).trace_id in sys.argv[1]
tracer.check(Settings())
tracer.check(Settings(otlp_endpoint="http://localhost:4317"))
"""


def test_without_the_extra_headers_are_read_and_the_setting_is_refused_with_what_to_install():
    command = [sys.executable, "-c", WITHOUT_EXTRA, SAMPLED]
    ran = subprocess.run(command, check=False, cwd=ROOT, timeout=60, capture_output=True, text=True)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "service.settings.SettingsError: --otlp-endpoint needs OpenTelemetry; "
        "install it with pip install 'twins-serving[tracing]'"
    )


def test_the_extra_is_found_where_it_is_installed():
    for protocol in ("grpc", "http"):
        tracer.check(Settings(otlp_endpoint="http://localhost:4317", otlp_protocol=protocol))


def test_a_missing_library_is_an_error_of_the_settings(monkeypatch):
    monkeypatch.setitem(tracer.LIBRARIES, "grpc", "no_such_package.at_all")
    with pytest.raises(SettingsError, match="tracing"):
        tracer.check(Settings(otlp_endpoint="http://localhost:4317"))


def test_a_context_is_small():
    assert not hasattr(TraceContext(TRACE, SPAN, sampled=True), "__dict__")
