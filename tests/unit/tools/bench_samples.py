"""Made-up measurements."""

from __future__ import annotations

from benchmarks.rows import Outcome, Row, Run


def rows(experiment, contender, metric, *values, running=0, unit="ms"):
    """Return rows of one kind; `running` is a number, or one for each value."""
    counts = running if isinstance(running, (list, range)) else [running] * len(values)
    return [
        Row(experiment, contender, count, metric, number, float(value), unit)
        for number, (count, value) in enumerate(zip(counts, values, strict=True))
    ]


def whole_run():
    """Return rows of every experiment, in which all targets are met."""
    thousand = range(1000)
    return [
        *rows("create", "fork+exec", "create", *[30.0] * 10),
        *rows("create", "fork+exec, static", "create", *[20.0] * 10),
        *rows("create", "noxs+split", "create", *[1.4, 1.5, 1.6] * 4),
        *rows("create", "noxs+split", "destroy", *[1.0] * 5),
        *rows("create", "noxs+split", "create of many", 0.5),
        *rows("create", "xl", "create", 4000.0, 5000.0),
        *rows("create", "crun run", "create", 200.0),
        *rows("create", "lvm create", "create", 40.0),
        *rows("toolstacks", "noxs+split", "create", *[2.0] * 1000, running=thousand),
        *rows("toolstacks", "noxs+split", "destroy", *[2.0] * 100, running=range(100)),
        *rows("toolstacks", "xs+split", "create", *[4.0] * 300, running=range(300)),
        *rows("create", "xs", "unpaused", *[100.0] * 10),
        *rows("toolstacks", "xl", "create", 4000.0, 4100.0, running=range(2)),
        *rows("growth", "noop, noxs+split", "create", *[2.0] * 1000, running=thousand),
        *rows("growth", "process", "create", *[5.0] * 10, running=range(10)),
        *rows("growth", "process", "boot", *[6.0] * 10, running=range(10)),
        *rows("phases", "noxs", "prepare", 20.0),
        *rows("phases", "noxs", "total", 20.0),
        *rows("phases", "xl", "devices", 2000.0),
        *rows("phases", "xl", "total", 2000.0),
        *rows("storm", "1 client", "create", *[3.0] * 10, running=1),
        *rows("storm", "1 client", "throughput", 300.0, unit="1/s", running=1),
        *rows("storm", "32 clients", "create", *[60.0] * 10, running=32),
        *rows("storm", "32 clients", "throughput", 400.0, unit="1/s", running=32),
        *rows("storm", "hit", "share", 50.0, unit="%", running=4),
        *rows("storm", "hit", "create", 3.0, running=4),
        *rows("storm", "miss", "create", 30.0, running=4),
        *rows("jit", "a client each 100 ms", "first answer", 30.0, 40.0, 50.0),
        *rows("density", "noop, noxs+split", "create", *[2.0] * 10, running=range(10)),
        *rows("density", "noop, noxs+split", "listed as ready", 8000, unit="domains", running=8000),
        *rows("density", "noop, noxs+split", "left behind", 0, unit="findings"),
        *rows("density", "lightvmd", "memory", 41000, 72000, unit="KiB", running=[250, 8000]),
        *rows("standing", "noop, 1 MiB", "memory", 1.25, unit="MiB", running=1000),
        *rows("standing", "noop, 1 MiB", "idle", 0.3, unit="%", running=1000),
    ]


def run(*, emulated="yes", scale="paper", **failures):
    """Return what such a run says of itself; `failures` are reasons, by experiment."""
    names = ["create", "toolstacks", "growth", *failures]
    outcomes = [
        Outcome(experiment=name, seconds=10.0, failure=failures.get(name))
        for name in dict.fromkeys(names)
    ]
    outcomes[1].notes.append("xl: the time was enough for 2 of 1000")
    return Run(scale=scale, machine={"emulated": emulated, "Xen": "4.17"}, outcomes=outcomes)
