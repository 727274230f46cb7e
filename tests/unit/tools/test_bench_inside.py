"""How experiments are run on a Xen host, as far as that can be seen without one."""

from __future__ import annotations

import importlib
import signal
import socket
import struct
import types

import pytest
from benchmarks import inside, instances, machine
from benchmarks.cli import make_parser
from benchmarks.experiments import EXPERIMENTS, Experiment, find_experiment
from benchmarks.experiments.jit import internet_checksum, make_ping
from benchmarks.experiments.phases import split_ours, split_xl
from benchmarks.experiments.requests import count_between
from benchmarks.instances import Beacons, Instances, NoBeacon, guest_address, rise_and_fall
from benchmarks.record import Budget, LeftBehindError, Record
from benchmarks.rows import Outcome, read_rows, read_run
from benchmarks.runner import command

from lightvm.model import Phases


class Counted(Instances):
    """Instances that are numbers, and may fail, or be silent, at one of them."""

    def __init__(self, fails_at=None, silent_at=None):
        super().__init__("counted")
        self.ended = []
        self.fails_at, self.silent_at = fails_at, silent_at

    def start(self, number):
        if number == self.fails_at:
            raise RuntimeError("no more")
        self.running.append(str(number))
        if number == self.silent_at:
            raise NoBeacon("no word")
        return {"create": float(number), "boot": number + 0.5}

    def end(self, one):
        self.ended.append(one)


@pytest.fixture
def outcome():
    return Outcome(experiment="growth")


@pytest.fixture
def record(tmp_path, outcome):
    return Record(tmp_path, outcome, scale="small", budget=Budget(60))


def test_instances_are_timed_on_their_way_up_and_down(record, tmp_path):
    counted = Counted()
    rise_and_fall(record, counted, 3, Budget(60))
    found = [(row.metric, row.running) for row in read_rows(tmp_path)]
    up = [(metric, number) for number in range(3) for metric in ("create", "boot")]
    assert found == [*up, ("destroy", 3), ("destroy", 2), ("destroy", 1)]


def test_where_the_time_is_over_it_is_said_how_far_it_went(record, outcome):
    counted = Counted()
    rise_and_fall(record, counted, 3, Budget(0))
    assert outcome.notes == ["counted: the time was enough for 0 of 3"]


def test_instances_are_ended_where_one_could_not_be_started(record):
    counted = Counted(fails_at=2)
    with pytest.raises(RuntimeError):
        rise_and_fall(record, counted, 3, Budget(60))
    assert counted.ended == ["1", "0"]


def test_an_instance_that_says_nothing_is_noted_and_ended(record, outcome, tmp_path):
    counted = Counted(silent_at=1)
    rise_and_fall(record, counted, 3, Budget(60))
    assert outcome.notes == ["counted, number 2: no word"]
    found = [row.running for row in read_rows(tmp_path) if row.metric == "create"]
    assert (found, counted.ended) == ([0, 2], ["2", "1", "0"])


def test_a_beacon_is_waited_for_until_it_comes_or_the_time_is_over(monkeypatch):
    monkeypatch.setattr(instances, "BOOT_SECONDS", 0.2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as guest:
        guest.bind(("127.0.0.1", 0))
        here = ("127.0.0.1", guest.getsockname()[1] ^ 1)
        monkeypatch.setattr(instances, "BEACON_PORT", here[1])
        beacons = Beacons()
        guest.sendto(b"up", here)
        beacons.wait("127.0.0.1")
        guest.sendto(b"up", here)
        with pytest.raises(NoBeacon, match=r"10\.79\.0\.9"):
            beacons.wait("10.79.0.9")
    beacons.close()


def test_all_there_are_is_looked_at_from_the_top(record):
    counted = Counted()
    seen = []
    rise_and_fall(record, counted, 3, Budget(60), lambda: seen.append(list(counted.running)))
    assert seen == [["0", "1", "2"]]


@pytest.fixture
def stubs(monkeypatch):
    """Experiments of which the first fails."""

    def measure_badly(record):
        record.add("xl", "create", 1.0)
        raise RuntimeError("xl has hung")

    modules = {
        "benchmarks.experiments.create": types.SimpleNamespace(measure=measure_badly),
        "benchmarks.experiments.echo": types.SimpleNamespace(
            measure=lambda record: record.add("Linux", "round trip", 2.0)
        ),
    }
    monkeypatch.setattr(inside, "importlib", types.SimpleNamespace(import_module=modules.get))
    monkeypatch.setattr(inside, "describe_machine", lambda **more: more)
    handler = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, handler)


def test_an_experiment_that_fails_leaves_its_rows_and_the_others_their_turn(
    stubs, tmp_path, capsys
):
    inside.run_experiments(tmp_path, ["create", "echo"], "small", {"project": "1234"})
    assert [row.contender for row in read_rows(tmp_path)] == ["xl", "Linux"]
    run = read_run(tmp_path)
    assert run.machine == {"project": "1234"}
    assert [each.failure for each in run.outcomes] == ["RuntimeError: xl has hung", None]
    assert "xl has hung" in capsys.readouterr().err


def test_after_one_that_leaves_something_behind_nothing_is_measured(
    stubs, tmp_path, monkeypatch, capsys
):
    def leave(_):
        raise LeftBehindError("the daemon has not ended")

    begun = types.SimpleNamespace(measure=leave)
    monkeypatch.setattr(inside.importlib, "import_module", lambda _: begun)
    inside.run_experiments(tmp_path, ["create", "echo", "jit"], "small", {})
    failures = ["LeftBehindError: the daemon has not ended", inside.NOT_RUN, inside.NOT_RUN]
    assert [each.failure for each in read_run(tmp_path).outcomes] == failures


def test_a_run_that_is_cut_off_says_which_experiment_did_not_end(stubs, tmp_path, monkeypatch):
    def cut_off(_):
        raise KeyboardInterrupt

    cut = types.SimpleNamespace(measure=cut_off)
    monkeypatch.setattr(inside.importlib, "import_module", lambda _: cut)
    with pytest.raises(KeyboardInterrupt):
        inside.run_experiments(tmp_path, ["create", "echo"], "small", {})
    assert [(each.experiment, each.failure) for each in read_run(tmp_path).outcomes] == [
        ("create", "the run ended before it did")
    ]


def test_an_experiment_that_hangs_is_unwound(stubs, tmp_path, monkeypatch, outcome):
    monkeypatch.setattr(inside, "GRACE_SECONDS", 1.0)
    hangs = types.SimpleNamespace(measure=lambda _: signal.pause())
    monkeypatch.setattr(inside.importlib, "import_module", lambda _: hangs)
    experiment = Experiment(name="growth", about="", small_s=0.1, paper_s=0.1)
    inside.run_one(tmp_path, experiment, outcome, "small")
    assert outcome.failure == "GivenUp: it took far longer than its limit"


@pytest.mark.parametrize("name", [each.name for each in EXPERIMENTS])
def test_each_experiment_is_a_module_that_measures(name):
    module = importlib.import_module(f"benchmarks.experiments.{name}")
    assert callable(module.measure)
    assert module.__doc__


def test_the_command_of_a_run_carries_what_only_the_host_knows():
    line = command("python", ["echo"], "paper", "/results", {"project": "12 34"})
    assert line[-3:] == ["--machine", "project=12 34", "echo"]


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "long"])
def test_patience_is_a_number_above_zero(text, capsys):
    with pytest.raises(SystemExit):
        make_parser().parse_args(["run", "echo", "--patience", text])
    assert "--patience" in capsys.readouterr().err


def test_patience_makes_limits_longer(stubs, tmp_path, monkeypatch):
    budgets = []
    notes = types.SimpleNamespace(measure=lambda record: budgets.append(record.budget.left))
    monkeypatch.setattr(inside.importlib, "import_module", lambda _: notes)
    inside.run_experiments(tmp_path, ["echo"], "small", {})
    inside.run_experiments(tmp_path, ["echo"], "small", {}, 10.0)
    limit = find_experiment("echo").seconds("small")
    assert [round(each / limit) for each in budgets] == [1, 10]
    assert "--patience 10.0" in " ".join(command("python", ["echo"], "paper", "/r", {}, 10.0))


def test_a_ping_has_a_right_checksum():
    assert internet_checksum(make_ping(7)) == 0
    assert internet_checksum(struct.pack("!HH", 0xFFFF, 0x0001)) == 0xFFFE


def test_requests_count_while_a_create_is_served():
    log = [
        "12 1.0 read(5, ...) = 16",
        "12 2.1 read(5, ...) = 16",
        "12 2.2 read(5, ...) = -1 EAGAIN",
        "12 2.9 recvfrom(5, ...) = 16",
        "12 9.0 read(5, ...) = 16",
    ]
    assert count_between(log, [(2.0, 3.0), (4.0, 5.0)]) == [2.0, 0.0]


def test_strace_that_saw_nothing_is_no_proof_of_silence():
    with pytest.raises(RuntimeError):
        count_between([], [(2.0, 3.0)])


def test_the_phases_of_a_create_add_up_to_what_it_took():
    phases = Phases(prepare_us=2000, load_us=300, journal_us=100, unpause_us=100, total_us=3000)
    parts = split_ours(phases, 4.0)
    assert parts.pop("total") == pytest.approx(4.0)
    assert sum(parts.values()) == pytest.approx(4.0)
    assert (parts["prepare"], parts["ready"], parts["the rest"]) == (2.0, 0.0, pytest.approx(1.5))


def test_the_phases_of_xl_are_those_of_its_log():
    lines = [
        (1.0, "libxl: debug: libxl_create.c:2079:do_domain_create: ao 0x1: create"),
        (2.0, "domainbuilder: detail: xc_dom_allocate: called"),
        (3.0, "domainbuilder: detail: xc_dom_release: called"),
        (7.0, "libxl: debug: libxl_event.c:1856:libxl__ao_complete: ao 0x1: complete, rc=0"),
    ]
    assert split_xl(0.5, lines, 8.0) == {
        "start": 500.0,
        "domain": 1000.0,
        "build": 1000.0,
        "devices and XenStore": 4000.0,
        "finish": 1000.0,
        "total": 7500.0,
    }


def test_guests_have_addresses_of_their_own():
    assert len({guest_address(number) for number in range(1000)}) == 1000
    assert guest_address(0) == "10.79.200.1"


def test_a_machine_says_what_it_is_made_of(tmp_path):
    (tmp_path / "file").write_text('NAME="x"\nMemTotal:   12 kB\n')
    assert machine.read_field(str(tmp_path / "file"), "MemTotal", ":") == "12 kB"
    assert machine.read_field(str(tmp_path / "file"), "Other", ":") == "?"
    assert machine.first_line(["/nonexistent"]) == "not installed"
    assert machine.describe_lvm(tmp_path / "none") == "not installed"
    assert machine.describe_lvm(tmp_path / "file") == "Python"
